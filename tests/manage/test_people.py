"""People: invited by a link that works once, let in by a token that nobody stores, shut out at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mofang.core import token as tokens
from mofang.core.errors import MofangError
from mofang.core.identity import ROLES, Actor, act_as, local_actor, now_us, permit_roles
from mofang.core.lock import locked
from mofang.core.shop import Shop
from mofang.core.token import DAY_US, Pepper
from mofang.manage.people import (
    SECRET,
    Person,
    admit,
    all_people,
    full,
    join,
    person_invite,
    person_remove,
    person_roles,
)


def invited(shop: Shop, name: str = "lina", **more: object) -> str:
    given = {"roles": ("train",), **more}
    return str(shop.act(person_invite, name=name, **given).token)


def token() -> str:
    return tokens.new_token("person")[1]


def let_in(shop: Shop, shown: str, at_us: int = 0) -> Person:
    return admit(shop.control, Pepper(shop.secret(SECRET)), shown, at_us or now_us())


def refused(shop: Shop, shown: str, at_us: int = 0) -> str:
    with pytest.raises(MofangError) as caught:
        let_in(shop, shown, at_us)
    return caught.value.code


def join_refused(shop: Shop, link: str, shown: str) -> str:
    with pytest.raises(MofangError) as caught:
        join(shop, link, shown)
    return caught.value.code


def test_a_link_is_exchanged_once_for_a_token_and_neither_is_stored(any_shop: Shop) -> None:
    shop = any_shop
    link, own = invited(shop), token()
    joined = join(shop, link, own)
    assert joined.name == "lina" and joined.roles == ("look", "train"), "who trains also looks"
    assert let_in(shop, own).actor() == Actor("lina", roles=frozenset({"look", "train"}))
    assert join(shop, link, own).id == joined.id, "an answer that got lost may be asked for again"
    assert join_refused(shop, link, token()) == "invitation-used"
    if "database" not in shop.settings or not shop.settings["database"]:
        everything = b"".join(path.read_bytes() for path in shop.path.rglob("*") if path.is_file())
        for secret in (link, own):
            assert secret.split("_")[3].encode() not in everything
    assert shop.verify() == []


def test_what_is_no_token_or_no_longer_one(shop: Shop) -> None:
    link, own = invited(shop, token_days=1), token()
    assert join_refused(shop, "mf_invite_x", own) == join_refused(shop, tokens.new_token("invite")[1], own) == "invitation-unknown"
    assert join_refused(shop, link, "mf_person_weak") == "token-mistyped"
    join(shop, link, own)
    changed = own[:-1] + ("a" if own[-1] != "a" else "b")
    assert refused(shop, changed) == refused(shop, "") == refused(shop, link) == "token-mistyped"
    assert refused(shop, token()) == "token-unknown"
    assert refused(shop, own, now_us() + 2 * DAY_US) == "token-expired"
    shop.act(person_remove, name="lina")
    assert refused(shop, own) == "token-unknown" and all_people(shop)[0].state(now_us()) == "removed"
    assert join_refused(shop, link, own) == "invitation-unknown", "a removed person's old link is nothing any more"


def test_a_lost_token_is_replaced_and_a_new_link_voids_the_old_one(shop: Shop) -> None:
    first, own = invited(shop), token()
    second = invited(shop, roles=())
    assert join_refused(shop, first, own) == "invitation-unknown"
    join(shop, second, own)
    third, other = invited(shop, roles=("money",)), token()
    assert let_in(shop, own).roles == ("look", "money"), "the old token works until the new link is used"
    join(shop, third, other)
    assert refused(shop, own) == "token-unknown" and let_in(shop, other).name == "lina"
    assert len(all_people(shop)) == 1


def test_links_end_and_names_come_free(shop: Shop) -> None:
    link = invited(shop, days=1e-9)
    assert join_refused(shop, link, token()) == "invitation-expired"
    assert all_people(shop)[0].state(now_us()) == "link expired"
    shop.act(person_remove, name="lina")
    join(shop, invited(shop), token())
    assert [one.state(now_us()) for one in all_people(shop)] == ["removed", "joined"]
    assert shop.verify() == []


def test_only_the_owner_manages_people(shop: Shop) -> None:
    for roles in ({*ROLES}, {"look"}, set()):
        other = Shop(shop.path, Actor("x", roles=frozenset(roles)))
        for action, given in ((person_invite, {"name": "y", "roles": ("look",)}), (person_remove, {"name": "y"}),
                              (person_roles, {"name": "y", "roles": ("look",)})):
            with pytest.raises(MofangError) as caught:
                other.act(action, **given)
            assert caught.value.code == "not-permitted"


@pytest.mark.parametrize(("given", "code"), [
    ({"name": "", "roles": ("look",)}, "setting-refused"), ({"name": "x" * 61, "roles": ("look",)}, "setting-refused"),
    ({"name": "a\nb", "roles": ("look",)}, "setting-refused"), ({"name": "ok"}, "roles-missing"),
    ({"name": "ok", "roles": ("admin",)}, "setting-refused"), ({"name": "ok", "roles": ("look",), "days": 0}, "setting-refused"),
])
def test_refused_invitations(shop: Shop, given: dict[str, object], code: str) -> None:
    with pytest.raises(MofangError) as caught:
        shop.act(person_invite, **given)
    assert caught.value.code == code


def test_roles_bring_what_they_need_and_every_action_has_one() -> None:
    assert full(("money", "label")) == ("look", "label", "money")
    assert full(("label",)) == ("label",), "who labels sees only what is to be labelled"
    assert full(("look", "owner")) == ("owner",)
    from mofang.core.action import ACTIONS
    from mofang.core.lock import survey

    survey()  # imports every action
    for name in locked()["actions"]:
        assert getattr(ACTIONS[name], "may", "") in {*ROLES, "people"}, name


def test_no_variable_makes_an_owner_of_a_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mofang.core import identity

    monkeypatch.setattr(identity, "_acting", [])
    monkeypatch.setenv("MOFANG_ACTOR", "somebody")
    assert local_actor() == Actor("somebody", roles=frozenset({"everything"})), "a shell of one's own: the shop is one's own"
    act_as(Actor("lina", roles=frozenset({"look"})))
    assert local_actor() == Actor("lina", roles=frozenset({"look"}))
    assert not permit_roles(local_actor(), "money")
