"""People: who may work in this shop from another machine, and what each of them may do.

The owner invites somebody by name and gives roles. The invitation is a link that works once and for a few days; whoever
holds it exchanges it for a personal token. Links and tokens are stored as keyed hashes only. A removed person's token is
refused by the next request, on every server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from mofang.core import token as tokens
from mofang.core.action import Act, action, turn
from mofang.core.database import Database
from mofang.core.errors import MofangError
from mofang.core.identity import BRINGS_LOOK, EVERYTHING, Actor, new_id, now_us
from mofang.core.journal import NewRow, Row, fold
from mofang.core.nearest import nearest
from mofang.core.shop import Shop
from mofang.core.token import DAY_US, Pepper

INVITATION, PERSON = tokens.pattern("invite"), tokens.pattern("person")
SECRET = "people"
ROLE_CHOICES = ("look", "label", "train", "release", "money", "owner")

TABLES = (
    """create table if not exists person(id text primary key, name text not null unique, roles text not null,
        invitation text not null, invitation_hash text not null, invitation_us bigint not null,
        token text not null, token_hash text not null, token_days double precision not null, expires_us bigint not null,
        created_us bigint not null, joined_us bigint not null, removed_us bigint not null)""",
    "create index if not exists person_token on person(token)",
    "create index if not exists person_invitation on person(invitation)",
)
COLUMNS = """id, name, roles, invitation, invitation_hash, invitation_us, token, token_hash, token_days, expires_us,
    created_us, joined_us, removed_us"""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may come in from another machine. Times are 0 where they do not apply."""

    id: str
    name: str
    roles: tuple[str, ...]
    invitation: str
    invitation_hash: str
    invitation_us: int
    token: str
    token_hash: str
    token_days: float
    expires_us: int
    created_us: int
    joined_us: int
    removed_us: int

    def state(self, at_us: int) -> Literal["invited", "joined", "link expired", "token expired", "removed"]:
        """Where the person stands: invited, joined, or shut out and why."""
        if self.removed_us:
            return "removed"
        if self.joined_us:
            return "token expired" if self.expires_us and self.expires_us <= at_us else "joined"
        return "invited" if self.invitation_us > at_us else "link expired"

    def actor(self) -> Actor:
        """The person as somebody who acts, with these roles and no others."""
        return Actor(self.name, roles=frozenset(EVERYTHING if role == "owner" else role for role in self.roles))


@dataclass(frozen=True)
class Invited:
    """An invitation with its token, which is shown this once and stored nowhere."""

    name: str
    roles: tuple[str, ...]
    token: str
    ends_us: int


@fold("people", tables=TABLES)
def fold_people(db: Database, rows: list[Row]) -> None:
    """People invited, joined, given other roles, and removed."""
    for row in rows:
        body = row.body
        if row.kind == "invite":
            db.run("""insert into person values(?,?,?,?,?,?,'','',?,0,?,0,0) on conflict(id) do update
                      set roles=excluded.roles, invitation=excluded.invitation, invitation_hash=excluded.invitation_hash,
                      invitation_us=excluded.invitation_us, token_days=excluded.token_days""",
                   (row.account, body["name"], json.dumps(body["roles"]), body["invitation"], body["hash"], body["ends_us"],
                    body["token_days"], row.at_us))
        elif row.kind == "join":
            db.run("""update person set token=?, token_hash=?, expires_us=?, joined_us=?, invitation_us=0 where id=?""",
                   (body["token"], body["hash"], body["expires_us"], row.at_us, row.account))
        elif row.kind == "roles":
            db.run("update person set roles=? where id=?", (json.dumps(body["roles"]), row.account))
        elif row.kind == "remove":
            db.run("""update person set removed_us=?, name=?, token_hash='', invitation_hash='', invitation_us=0 where id=?""",
                   (row.at_us, body["as"], row.account))


def people(db: Database) -> list[Person]:
    """Everybody, in the order in which they were first invited; removed ones too."""
    return [_person(row) for row in db.rows(f"select {COLUMNS} from person order by created_us, id")]


def find_person(db: Database, name: str) -> Person:
    """Somebody who is not removed, by name; a wrong name is answered with the nearest."""
    here = [one for one in people(db) if not one.removed_us]
    for one in here:
        if one.name == name:
            return one
    raise MofangError("person-unknown", name=name, nearest=nearest(name, [one.name for one in here]))


def _person(row: tuple[Any, ...]) -> Person:
    return Person(row[0], row[1], tuple(json.loads(row[2])), *row[3:])


def admit(db: Database, pepper: Pepper, token: str, at_us: int) -> Person:
    """Whose personal token this is, if it is good now; why not is told only to who holds the secret."""
    id = tokens.id_in(token, PERSON)
    found = db.rows(f"select {COLUMNS} from person where token=?", (id,)) if id else []
    person = _person(found[0]) if found else None
    same = pepper.same(token, person.token_hash if person else "")
    if id is None:
        raise MofangError("token-mistyped")
    if person is None or not same or person.removed_us:
        raise MofangError("token-unknown")
    if person.expires_us and person.expires_us <= at_us:
        raise MofangError("token-expired", name=person.name)
    return person


def person_by_id(db: Database, id: str, at_us: int) -> Person | None:
    """Somebody who may still come in."""
    found = db.rows(f"select {COLUMNS} from person where id=?", (id,))
    return _person(found[0]) if found and _person(found[0]).state(at_us) == "joined" else None


def all_people(shop: Shop) -> list[Person]:
    """Everybody of this shop, for the faces."""
    shop.journals.make_tables()
    return people(shop.control)


def join(shop: Shop, invitation: str, token: str) -> Person:
    """Exchange an invitation for the personal token that the joining machine has made for itself.

    The same pair again changes nothing, so that an answer which got lost on the way can be asked for again.
    """
    found = tokens.id_in(invitation, INVITATION)
    shop.journals.make_tables()
    rows = shop.control.rows(f"select {COLUMNS} from person where invitation=?", (found,)) if found else []
    person = _person(rows[0]) if rows else None
    same = Pepper(shop.secret(SECRET)).same(invitation, person.invitation_hash if person else "")
    if person is None or not same:
        raise MofangError("invitation-unknown")
    as_themselves = Shop(shop.path, Actor(person.name, roles=frozenset({"people"})))
    joined: Person = as_themselves.act(person_join, person=person.id, invitation=invitation, token=token)
    return joined


Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\W_]([\w .@'’·-]*\w)?$")]
Role = Literal["look", "label", "train", "release", "money", "owner"]
Days = Annotated[float, Field(gt=0, le=3660, allow_inf_nan=False)]


def full(roles: tuple[str, ...]) -> tuple[str, ...]:
    """The roles with what they bring along, in one order: whoever trains, releases or bills also looks."""
    given = {*roles} | ({"look"} if BRINGS_LOOK & {*roles} else set())
    return ("owner",) if "owner" in given else tuple(role for role in ROLE_CHOICES if role in given)


@action(may="people")
def person_invite(act: Act, *, name: Name, roles: tuple[Role, ...] = (), days: Days = 2, token_days: Days = 365) -> Invited:
    """Invite somebody by name; the link is shown this once, works once, and ends by itself.

    Inviting somebody again who is there already replaces a lost token: the old one works until the new link is used.
    """
    id, token = tokens.new_token("invite")
    with turn(act, "people") as db:
        known = next((one for one in people(db) if one.name == name and not one.removed_us), None)
        if known is None and not roles:
            raise MofangError("roles-missing", name=name)
        chosen = full(roles) if roles else known.roles if known else ()
        ends_us = now_us() + int(days * DAY_US)
        body = {"name": name, "roles": list(chosen), "invitation": id, "hash": Pepper(act.shop.secret(SECRET)).hash(token),
                "ends_us": ends_us, "token_days": token_days}
        act.record("people", NewRow("invite", body, account=known.id if known else new_id("per")))
    return Invited(name, chosen, token, ends_us)


@action(may="people")
def person_join(act: Act, *, person: str, invitation: str, token: str) -> Person:
    """Take up an invitation: from now on the personal token is good, and the link is not."""
    id = tokens.id_in(token, PERSON)
    if id is None:
        raise MofangError("token-mistyped")
    pepper = Pepper(act.shop.secret(SECRET))
    with turn(act, "people") as db:
        found = _person(db.rows(f"select {COLUMNS} from person where id=?", (person,))[0])
        if not pepper.same(invitation, found.invitation_hash):
            raise MofangError("invitation-unknown")
        if found.token == id and pepper.same(token, found.token_hash):
            return found
        if not found.invitation_us:
            raise MofangError("invitation-used")
        if found.invitation_us <= now_us():
            raise MofangError("invitation-expired")
        if db.rows("select 1 from person where token=?", (id,)):
            raise MofangError("token-mistyped")
        body = {"token": id, "hash": pepper.hash(token), "expires_us": now_us() + int(found.token_days * DAY_US)}
        act.record("people", NewRow("join", body, account=person))
        return _person(db.rows(f"select {COLUMNS} from person where id=?", (person,))[0])


@action(may="people")
def person_roles(act: Act, *, name: str, roles: tuple[Role, ...]) -> Person:
    """Give somebody other roles; they hold from the next request on."""
    if not roles:
        raise MofangError("roles-missing", name=name)
    with turn(act, "people") as db:
        found = find_person(db, name)
        act.record("people", NewRow("roles", {"name": name, "roles": list(full(roles))}, account=found.id))
        return find_person(db, name)


@action(may="people")
def person_remove(act: Act, *, name: str) -> Person:
    """Shut somebody out now: token and open link end, running servers refuse both within a second."""
    with turn(act, "people") as db:
        found = find_person(db, name)
        left = f"{found.name} ({found.id[-6:]})"  # the name is free again, and the journal still tells both apart
        act.record("people", NewRow("remove", {"name": found.name, "as": left}, account=found.id))
    return found
