"""The words of the screen (eight nouns) and of the workshop behind it, in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One word in both languages."""

    en: str
    zh: str
    meaning_en: str
    meaning_zh: str


WORDS = (
    Word("records", "记录", "What you have: texts, images or rows of a table, with a licence and an origin.",
         "您手里的数据：文本、图片或表格的行，带有许可和来源。"),
    Word("snapshot", "快照", "Records frozen and split into training, validation and test parts; a record never changes sides.",
         "冻结下来的记录，分成训练、验证和测试三部分；一条记录不会换边。"),
    Word("run", "运行", "One execution of one step, written into the ledger with its settings, inputs, cost and result.",
         "一个步骤的一次执行，连同设置、输入、成本和结果写入账本。"),
    Word("model", "模型", "What training made, under a name and a version such as reviews@1.",
         "训练得到的成果，有名字和版本，例如 reviews@1。"),
    Word("release", "发布版", "A model that was approved for sale.", "经批准可以销售的模型。"),
    Word("customer", "客户", "Somebody who pays for answers; has keys, a credit and invoices.",
         "为回答付费的一方；拥有密钥、额度和账单。"),
    Word("key", "密钥", "What a customer's program shows with each request; live keys are billed, test keys are not.",
         "客户程序每次请求时出示的凭证；正式密钥计费，测试密钥不计费。"),
    Word("invoice", "账单",
         "What a customer owes for a month; each line leads back to model, data and licence. Not a tax document.",
         "客户一个月的应付款；每一行都能追溯到模型、数据和许可。账单不是税务发票。"),
    Word("credit note", "冲减", "Money given back for what was charged, with its reason; it stands on the next invoice.",
         "退还的已收费用，连同原因列在下一张账单上。"),
    Word("console", "控制台", "The shop in a browser, and the door through which invited people work in it from other machines.",
         "在浏览器里看模坊，也是受邀的人从其他机器使用它的入口。"),
    Word("role", "角色", "What a person may do from another machine: look, label, train, release, money, or owner.",
         "一个人从其他机器可以做什么：查看、标注、训练、发布、财务或所有者。"),
    Word("erase", "抹除", "To take one person out of every record, sample and note of the shop for good, and to keep them out.",
         "把一个人从模坊的所有记录、样本和备注中永久去除，今后也不再采集。"),
    Word("tombstone", "抹除记录", "A keyed mark of who was erased; it names nobody, and keeps them from being collected again.",
         "被抹除者的带密钥标记；它不含姓名，只用来防止再次采集。"),
    Word("annotator", "标注员", "Somebody who answers the tasks of a labelling project; each answer bears the name and stays.",
         "回答标注任务的人；每条回答都记名并保留。"),
    Word("agreement", "一致性系数",
         "How far people give the same answers beyond chance: Krippendorff's alpha, Fleiss' and Cohen's kappa; 1 is perfect.",
         "大家的回答在排除偶然之后有多一致：Krippendorff α、Fleiss κ、Cohen κ；1 为完全一致。"),
    Word("adjudication", "裁定", "A decision on a task whose answers differ, by somebody with the right to; it stands beside them.",
         "由有权限的人对回答不一的任务作出的决定，与各人的回答并存。"),
    Word("proposal", "预标", "What a model suggests for a task; nobody's answer until somebody gives it.",
         "模型对一个任务的建议；在有人采纳之前不算任何人的回答。"),
    Word("artifact", "产物", "Any sealed result: named parts, each a file under its SHA-256.",
         "任何已封存的结果：若干有名字的部分，每部分是一个以 SHA-256 命名的文件。"),
    Word("stage", "阶段", "A step as a plain function: artifacts before the star, settings after it.",
         "一个步骤，就是一个普通函数：星号前是产物，星号后是设置。"),
    Word("action", "操作",
         "What a person decides: issue a key, set a price. It needs a permission and leaves a journal row.",
         "由人决定的事：签发密钥、设定价格。需要权限，并在日志里留下一行。"),
    Word("journal", "日志", "An append-only list of what happens live or by hand; balances and keys are folded from it.",
         "只增不改的实时或手工记录；余额和密钥都由它折算出来。"),
    Word("seal", "封存", "A stretch of a journal frozen into an artifact, so that invoices can be made from it.",
         "把日志的一段冻结成产物，账单由此计算。"),
    Word("head", "链头", "The last link of the ledger's chain; printed on invoices, so that history cannot be rewritten unseen.",
         "账本链条的最后一环；印在账单上，历史就无法悄悄改写。"),
    Word("memo", "备忘", "A run that was made before with the same inputs is not made again; its reuse is written down.",
         "相同输入的运行不会重做；每次重用都会记录。"),
    Word("family", "模型族", "A kind of model with its own settings: linear, averaged, encoder, resnet, xgboost …",
         "一类模型及其设置：linear、averaged、encoder、resnet、xgboost 等。"),
    Word("engine", "引擎",
         "What computes the answers of a package: ONNX Runtime, OpenVINO, XGBoost; the fastest that passes is chosen.",
         "计算模型包回答的部件：ONNX Runtime、OpenVINO、XGBoost；在通过校验的里面选最快的。"),
    Word("package", "模型包", "A model ready to serve: graph, encoder, operators, engine table, evidence, licences.",
         "可以直接提供服务的模型：计算图、编码器、算子、引擎表、评估依据和许可。"),
    Word("ancestry", "来历",
         "The ledger entries behind a model as they travel with it to another shop: sources, licences, costs, figures, signed.",
         "随模型带到另一个模坊的账本条目：来源、许可、成本、指标，并有签名。"),
    Word("fingerprint", "指纹", "The short form of a shop's public key; compared by telephone, it tells one shop from another.",
         "模坊公钥的简短形式；通过电话等途径核对，就能确认对方身份。"),
    Word("baseline", "基线",
         "A simple model beside every other: logistic regression on the same split. What does not beat it is not worth its cost.",
         "与每个模型并列的简单模型：同一划分上的逻辑回归。胜不过它的模型不值得花钱。"),
    Word("interval", "区间",
         "How far a test figure could be off by chance: 19 of 20 test parts of this size would put it inside.",
         "测试指标因偶然可能偏离的范围：同样大小的测试集，20 次里有 19 次落在其中。"),
    Word("threshold", "阈值",
         "From which probability on a model of two classes says the one that is looked for; chosen on the validation part.",
         "两类模型从多大概率起答“是要找的那一类”；在验证集上选定，依据宏平均 F1 或漏报的代价（--miss-cost）。"),
    Word("comparison", "比较", "Two versions of a model on the same test rows: better, worse, or cannot tell.",
         "同一模型的两个版本在同样的测试记录上比较：更好、更差或无法断定。"),
    Word("unit", "计量单位", "What is counted and billed: one record of a request.", "计量和收费的单位：请求中的一条记录。"),
    Word("parity", "一致性",
         "What was trained is what answers: the same operators, the same arrays, equal outputs within a stated tolerance.",
         "训练的就是应答的：算子相同，数组相同，输出在规定误差内一致。"),
)


def find_word(text: str) -> Word | None:
    """A word by either language."""
    return next((word for word in WORDS if text.strip().lower() in (word.en, word.zh)), None)
