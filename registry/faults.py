"""Every failure that has a name, who has to act, and the exit code it ends a program with.

::

    Fault
      SettingsInvalid        operator     78  all bad settings at once; nothing was started
      UsageInvalid           operator      2  an argument that click could not judge alone
      PlaceUnknown           operator     69  no source says at which address we are reached
      ProgramMissing         operator     69  a binary is not there, too old, or its port is taken
      StoreUnreachable       nobody       69  etcd did not answer; wait and try again, for ever
      StoreDenied            operator     77  etcd refused us; no quick retry helps
      StoreMisspoken         operator     69  what answered is not etcd's JSON gateway
      LeaseLost              nobody       75  register again at once
      WatchCompacted         nobody       75  read the whole registry again
      AddressTaken           branch owner 69  another branch has registered our address meanwhile
      LabelsExhausted        branch owner 69  no label is free for a branch and service
      RenderFault            maintainer   70  a template or our code is wrong; what serves stays
      ConfigRejected         maintainer   70  nginx refused the text; carries nginx's own words
      StateUnwritable        operator     69  the state folder cannot be written; what serves stays
      NginxDown              operator     69  nginx does not start; tried again
      GenerationUnconfirmed  operator     75  nginx took the signal, but never served it
      LeftOut                branch owner 69  a frontend does not serve the record, and says why
      NotApplied             nobody       75  a frontend did not report in time
      NotReached             operator     75  a frontend leads nobody to what it should serve
      NotLetIn               operator     77  a frontend is closed to who asks through it
      NotRegistered          operator     69  what was asked for is not in the registry
      NotRecorded            operator     69  what was asked for is in no frontend's history
      EngineUnreachable      operator     69  no Docker engine answers
      EngineDenied           operator     77  the Docker engine may not be asked
      MetadataUnavailable    operator     69  AWS does not tell a container of itself
      CommandMissing         operator    127  the command to run was not found
      CommandNotExecutable   operator    126  the command to run is there and cannot be run

A bad record is no fault: it is a ``Rejection``, and belongs to its branch.
"""

from enum import StrEnum
from typing import ClassVar


class Owner(StrEnum):
    """Who has to act before the fault goes away."""

    OPERATOR = "operator"
    BRANCH = "branch owner"
    MAINTAINER = "maintainer"
    NOBODY = "nobody"


class Fault(Exception):
    """A named failure: one sentence, an owner, an exit code of ``sysexits.h``."""

    owner: ClassVar[Owner] = Owner.MAINTAINER
    exit_code: ClassVar[int] = 70


class SettingsInvalid(Fault):
    """Settings that cannot be used; carries all of them, so that one run tells the whole story."""

    owner = Owner.OPERATOR
    exit_code = 78

    def __init__(self, problems: list[str] | tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class UsageInvalid(Fault):
    """An argument on the command line that cannot be used."""

    owner = Owner.OPERATOR
    exit_code = 2


class PlaceUnknown(Fault):
    """No source says at which address this container is reached."""

    owner = Owner.OPERATOR
    exit_code = 69


class ProgramMissing(Fault):
    """A program that has to run here is missing, too old, or cannot have its port."""

    owner = Owner.OPERATOR
    exit_code = 69


class StoreUnreachable(Fault):
    """No endpoint of etcd answered in time. Whether a write was applied is not known."""

    owner = Owner.NOBODY
    exit_code = 69


class StoreDenied(Fault):
    """Etcd refused user, password, certificate or role. Nothing was written."""

    owner = Owner.OPERATOR
    exit_code = 77


class StoreMisspoken(Fault):
    """What answered does not speak etcd's JSON gateway, or refused the call as malformed."""

    owner = Owner.OPERATOR
    exit_code = 69


class LeaseLost(Fault):
    """The lease is gone, and with it every key that was on it."""

    owner = Owner.NOBODY
    exit_code = 75


class WatchCompacted(Fault):
    """The history that the watch asked for was compacted away.

    Attributes:
        compact_revision: The oldest revision that etcd still has.
    """

    owner = Owner.NOBODY
    exit_code = 75

    def __init__(self, compact_revision: int) -> None:
        super().__init__(f"etcd has compacted its history up to revision {compact_revision}")
        self.compact_revision = compact_revision


class AddressTaken(Fault):
    """Another branch has registered the address that was ours, while we were not there."""

    owner = Owner.BRANCH
    exit_code = 69


class LabelsExhausted(Fault):
    """Every form of a label is carried by somebody else's claim."""

    owner = Owner.BRANCH
    exit_code = 69


class RenderFault(Fault):
    """A template or our code is wrong. Nothing changed; what serves goes on serving."""

    owner = Owner.MAINTAINER
    exit_code = 70


class ConfigRejected(Fault):
    """``nginx -t`` refused a staged generation. Nothing changed.

    Attributes:
        verdict: What nginx printed, unchanged.
    """

    owner = Owner.MAINTAINER
    exit_code = 70

    def __init__(self, verdict: str) -> None:
        super().__init__(f"nginx refused the configuration: {verdict}")
        self.verdict = verdict


class StateUnwritable(Fault):
    """The state folder cannot be written: no space, no right, or no such folder.

    The generation that serves is untouched.
    """

    owner = Owner.OPERATOR
    exit_code = 69


class NginxDown(Fault):
    """Nginx ended as soon as it was started, or never answered."""

    owner = Owner.OPERATOR
    exit_code = 69


class GenerationUnconfirmed(Fault):
    """Nginx was asked to serve a generation and did not, before the deadline.

    Files changed; the caller puts the last good ones back.
    """

    owner = Owner.OPERATOR
    exit_code = 75


class NotApplied(Fault):
    """A frontend had not applied a change when the time was up. The change itself stands."""

    owner = Owner.NOBODY
    exit_code = 75


class NotReached(Fault):
    """No request through a frontend came to the registration in time. It stands."""

    owner = Owner.OPERATOR
    exit_code = 75


class NotLetIn(Fault):
    """A frontend is closed to who asks through it for a registration. It stands."""

    owner = Owner.OPERATOR
    exit_code = 77


class NotRegistered(Fault):
    """What was asked for is not in the registry."""

    owner = Owner.OPERATOR
    exit_code = 69


class NotRecorded(Fault):
    """What was asked for is not in a frontend's history, or there is no history."""

    owner = Owner.OPERATOR
    exit_code = 69


class EngineUnreachable(Fault):
    """No Docker engine answers, or not in time. Nothing that it runs is known."""

    owner = Owner.OPERATOR
    exit_code = 69


class EngineDenied(Fault):
    """The Docker engine's socket may not be used by this user. Nothing that it runs is known."""

    owner = Owner.OPERATOR
    exit_code = 77


class MetadataUnavailable(Fault):
    """ECS or EC2 does not say of a container what it was asked.

    Attributes:
        may_pass: It may do so in a moment, without a hand.
    """

    owner = Owner.OPERATOR
    exit_code = 69

    def __init__(self, text: str, *, may_pass: bool = False) -> None:
        super().__init__(text)
        self.may_pass = may_pass


class CommandMissing(Fault):
    """The command to run was not found. Nothing was started; 127 is what a shell says."""

    owner = Owner.OPERATOR
    exit_code = 127


class CommandNotExecutable(Fault):
    """The command to run is there and cannot be run. Nothing was started; 126 as a shell says."""

    owner = Owner.OPERATOR
    exit_code = 126


class LeftOut(Fault):
    """A frontend has read the record and does not serve it. The record stands."""

    owner = Owner.BRANCH
    exit_code = 69
