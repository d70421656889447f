"""Chat templates run in a sandbox with a budget; conversations become the same token ids in training and in use."""

from __future__ import annotations

import json
import time

import pytest

from mofang.core.errors import MofangError
from mofang.engine.encode import load_encoder
from mofang.engine.encode.chat import ChatEncoder
from mofang.engine.encode.template import PLAIN, TURNS, ChatTemplate, read_messages
from mofang.engine.task import task_named

TALK = [
    {"role": "system", "content": "简短"}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "你好"},
    {"role": "user", "content": "bye"}, {"role": "assistant", "content": "再见"},
]
CHATML = (
    "{%- for message in messages -%}{{ '<|im_start|>' ~ message.role ~ '\n' ~ message['content'] | trim ~ '<|im_end|>\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
HOSTILE = (
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ 'a' * 10000000000 }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(90) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=2) %}{% for i in range(9000) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{{ 'a' | center(100000000) }}", "{{ 'a'.center(1000000000) }}",
    "{{ '%1000000000d' % 3 }}", "{{ '{:>1000000000}'.format(3) }}",
    "{% include '/etc/passwd' %}", "{% import 'os' as os %}",
    "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% for a in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}",
    "{{ (['aaaa'] * 1000000) | join('b' * 1000) }}", "{{ 'a'.replace('a', 'b' * 3999999).replace('b', 'c' * 3999999) }}",
    "{% for a in 'x' * 4000000 %}{% endfor %}", "{{ messages[0].content.nope.nope }}", "{% for", "{{ lipsum(1000) }}",
    "{{ raise_exception('no') }}", "x" * 60_000,
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_template_that_loops_grows_or_reaches_outside_is_refused_soon(text: str) -> None:
    began = time.process_time()
    with pytest.raises(MofangError) as error:
        ChatTemplate(text).render(TALK)
    assert error.value.code == "template-refused" and time.process_time() - began < 2


def test_templates_of_others_are_written_as_transformers_writes_them() -> None:
    written = ChatTemplate(CHATML).render(TALK[:2])
    assert written == "<|im_start|>system\n简短<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert ChatTemplate(marked).render(TALK[1:2]) == "hi"


@pytest.mark.parametrize("text", [PLAIN, TURNS, CHATML])
def test_turns_are_what_the_assistant_wrote(text: str) -> None:
    turns = ChatTemplate(text, eos_token="</s>").turns(TALK)
    assert [learnt for _, learnt in turns] == [False, True, False, True]
    assert "你好" in turns[1][0] and "hi" not in turns[1][0]
    assert "".join(one for one, _ in turns) == ChatTemplate(text, eos_token="</s>").render(TALK, begun=False)


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    forgetful = "{{ messages[-1].content }}{% if add_generation_prompt %}>{% endif %}"
    with pytest.raises(MofangError) as error:
        ChatTemplate(forgetful).turns(TALK)
    assert error.value.code == "template-unstable"


def test_a_prompt_has_the_ids_that_were_trained_on() -> None:
    encoder = ChatEncoder.fit(["简短 hi bye 你好 再见"] * 3, ("messages",), vocabulary=320, max_length=64)
    turns = encoder.turns(TALK)
    assert encoder.prompt(TALK[:4]) == [one for turn in turns[:3] for one in turn.ids]
    again = load_encoder({"name": "chat", "version": 1}, encoder.save())
    record = {"messages": json.dumps(TALK[:4], ensure_ascii=False)}
    assert (again.encode([record])["input_ids"] == encoder.encode([record])["input_ids"]).all()
    assert encoder.decode(encoder.prompt(TALK[:2])).endswith("\n")


def test_what_is_too_long_loses_its_beginning() -> None:
    encoder = ChatEncoder.fit(["a b c"], ("prompt",), vocabulary=300, max_length=16)
    record = {"prompt": "a b c " * 50 + "the end"}
    arrays = encoder.encode([record])
    assert arrays["input_ids"].shape == (1, 16) and encoder.cuts([record])[0] > 100
    assert "end" in encoder.decode(arrays["input_ids"][0].tolist())


@pytest.mark.parametrize(("value", "code"), [
    ("[]", "messages-unreadable"), ("[", "messages-unreadable"), ([{"role": "user"}], "messages-unreadable"),
    ([{"role": "user", "content": 3}], "messages-unreadable"), ([{"role": "God", "content": ""}], "role-unknown"),
    ([{"role": "user", "content": ""}] * 1001, "messages-too-many"), ({"role": "user"}, "messages-unreadable"),
])
def test_messages_are_refused_in_words(value: object, code: str) -> None:
    with pytest.raises(MofangError) as error:
        read_messages(value)
    assert error.value.code == code


def test_a_request_is_a_prompt_or_messages() -> None:
    task = task_named("text_generation")
    signature = {"task": "text_generation", "inputs": [{"name": "问题", "role": "text"}], "labels": []}
    for body in ({"prompt": "你好"}, {"问题": "你好"}, {"text": "你好"}):
        assert task.parse(signature, body) == ([{"问题": "你好"}], False)  # type: ignore[arg-type]
    records, many = task.parse(signature, {"records": [{"messages": TALK[:2]}]})  # type: ignore[arg-type]
    assert many and json.loads(records[0]["问题"]) == TALK[:2]
    for bad in ({"prompt": ""}, {"prompt": 3}, {"nothing": "x"}, "x", {"messages": "[]"}):
        with pytest.raises(MofangError):
            task.parse(signature, bad)  # type: ignore[arg-type]
