"""What clients and operators do in a world, drawn from its seed, until all is over."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from temporalio import activity

from activities.controller.records import RecordsActivities
from rap import ids
from rap.contracts.activities import LOAD_WORKSPACE
from rap.contracts.kinds import Workflow
from rap.contracts.workflows import (
    ANNOUNCE,
    BACKEND,
    CANCEL_JOBS,
    CREATE_RAP,
    DATABASE_MAINTENANCE,
    DATABASE_MODE,
    HOST_LOST,
    JOB,
    LIMITS,
    PAUSE,
    PREPARE_FOR_REBOOT,
    PRIORITISE,
    RAP,
    REWEIGH,
    SETTLE_RAP,
    WORKSPACE,
)
from rap.messages import orders
from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.slots import Announce, Reweigh
from rap.messages.workspaces import CancelRequest, SettleRequest, WorkspaceStart
from rap.models import CreateRequest, Model, WeightRule, Weights
from rap.records import Records
from rap.records.migrations import upgrade
from tests.support.factories import create_request
from tests.support.world.server import Answer, Server
from tests.support.world.stand_ins import ACTIONS, HOSTS, StandIns
from worker_controller.worker import WORKFLOWS
from workflows.backend.start import start_after

MOST_STEPS = 20_000
ASK_ONCE_MORE_AFTER_S = 100.0
"""What was terminated is noticed by a new request at the latest, once a RAP is a minute old."""

PATIENCE_S = 900.0
"""Of the world's time, once nobody asks for anything any more: longest pause and a little."""


class Story:
    """One seed: some creates in two workspaces, and what is said to the workflows meanwhile.

    In a ``disturbed`` world somebody terminates workflows as well; then backends look round, and
    the controller looks after them.
    """

    def __init__(self, seed: int, folder: Path, *, disturbed: bool = False) -> None:
        self.seed, self.backend, self.disturbed = seed, f"b{seed}", disturbed
        url = f"sqlite:///{folder / 'records.sqlite'}"
        upgrade(url)
        self.records = Records.connect(url)
        self._rows = RecordsActivities(self.records)
        self._random = Random(f"story {seed}")
        self.outside = StandIns(self.backend, Random(f"outside {seed}"))
        self.server = self.outside.server = Server(
            seed,
            WORKFLOWS,
            [
                *self.outside.calls(),
                self._rows.record_jobs,
                self._rows.record_backend,
                self._rows.end_rap,
                self._rows.settle_intent,
                self._load_workspace,
                self._rows.claim_rap,
            ],
        )
        self.terminated: set[str] = set()
        """The workflows that somebody terminated."""
        self.creates: list[tuple[CreateRequest, Answer]] = []
        self.answers: list[tuple[str, Answer]] = []
        self.last_deed_at = self.server.now
        self._orders: list[tuple[object, Model]] = []

    @property
    def workspaces(self) -> list[str]:
        """The workspaces that were asked for something."""
        return sorted({request.workspace for request, _ in self.creates})

    async def play(self, is_over: Callable[["Story"], bool]) -> None:
        """Tell the story, and let the world go on until it is over or patience ends."""
        self._look_after_backend()
        self.outside.report_regularly()
        deeds = [*self._random.choices(_DEEDS, k=self._random.randint(4, 16)), Story._ask]
        if self.disturbed:
            for _ in range(self._random.randint(1, 3)):
                deeds.insert(self._random.randint(0, len(deeds)), Story._terminate)
        for deed in [Story._ask, Story._ask, *deeds]:
            for _ in range(self._random.choice([0, 1, 5, 20, 40])):
                await self.server.step()
            deed(self)
        self._switch_off()
        self.last_deed_at = self.server.now
        if self.disturbed:
            self.last_deed_at += ASK_ONCE_MORE_AFTER_S
            self.server.at(self.last_deed_at, "all workspaces are asked", self._ask_everywhere)
        for _ in range(MOST_STEPS):
            if (
                self.server.is_quiet and is_over(self)
            ) or self.server.now > self.last_deed_at + PATIENCE_S:
                return
            await self.server.step()

    def close(self) -> None:
        """Let all go."""
        self.server.end()
        self.records.close()

    @activity.defn(name=LOAD_WORKSPACE.name)
    async def _load_workspace(self, start: WorkspaceStart) -> WorkspaceStart:
        self.outside.may_fail()
        return await self._rows.load_workspace(start)

    def _look_after_backend(self) -> None:
        """What the controller does: start it, and again whenever it is gone."""
        if not self.server.is_open(self._backend_id):
            row = self.records.backends([self.backend]).get(self.backend)
            limits = BackendLimits(max_workers=3, max_db_workers=2)
            start = start_after(row, slug=self.backend, limits=limits).model_dump() | {
                # Undisturbed, nobody looks round: what is lost on the way must show.
                "look_round_s": 30.0 if self.disturbed else 1e6,
                "recovering": row is not None,
                "longest_history": self._random.choice([60, 200, 10**6]),
            }
            self.server.start(BACKEND, self._backend_id, BackendStart.model_validate(start))
        if self.disturbed:
            again = self.server.now + 20
            self.server.at(again, "the controller looks at backends", self._look_after_backend)

    def _terminate(self) -> None:
        kinds: list[Workflow[Any, Any]] = [JOB, JOB, RAP, RAP, WORKSPACE, WORKSPACE, BACKEND]
        if found := self.server.open_ids(self._random.choice(kinds)):
            self.terminated.add(one := self._random.choice(found))
            self.server.terminate(one)

    # --- what clients do ---

    def _ask(self) -> None:
        names = [one.name for one in ACTIONS]
        request = create_request(
            *self._random.sample([*names, "run_all"], self._random.choice([1, 1, 2])),
            rap_id=f"rap{self.seed:06}{len(self.creates):07}",
            number=1,
            backend=self.backend,
            workspace=self._random.choice(["w1", "w1", "w2"]),
            force_run_dependencies=self._random.random() < 0.2,
        )
        self._create(request)

    def _ask_everywhere(self) -> None:
        # An order may be lost with a backend that is terminated before it has written it down.
        self._switch_off()
        self.outside.faults = 0.0
        for number, workspace in enumerate(self.workspaces):
            request = create_request(
                "lookup",
                rap_id=f"last{self.seed:06}{number:06}",
                backend=self.backend,
                workspace=workspace,
            )
            self._create(request)

    def _ask_again(self) -> None:
        """As a client sends a create anew, or an API offers it again."""
        request = self._random.choice(self.creates)[0]
        anew = request.number + self._random.choice([0, 1])
        self._create(request.model_copy(update={"number": anew}))

    def _create(self, request: CreateRequest) -> None:
        answer = self._update_workspace(CREATE_RAP, request.workspace, request)
        self.creates.append((request, answer))

    def _cancel(self) -> None:
        request, _ = self._random.choice(self.creates)
        names = tuple(self._random.sample([one.name for one in ACTIONS], 2))
        order = CancelRequest(rap_id=request.rap_id, actions=names, by="me")
        self._update_workspace(CANCEL_JOBS, request.workspace, order)

    def _settle(self) -> None:
        request, _ = self._random.choice(self.creates)
        question = SettleRequest(rap_id=request.rap_id, number=request.number)
        self._update_workspace(SETTLE_RAP, request.workspace, question)

    def _update_workspace(self, contract: object, workspace: str, argument: Model) -> Answer:
        answer = self.server.update(
            contract,  # type: ignore[arg-type]
            ids.workspace_workflow_id(self.backend, workspace),
            argument,
            (WORKSPACE, WorkspaceStart(backend=self.backend, workspace=workspace)),
        )
        self.answers.append((f"{type(argument).__name__} of {workspace}", answer))
        return answer

    # --- what operators, checks and backends do ---

    def _pause(self) -> None:
        self._tell(PAUSE, orders.Switch(on=self._random.random() < 0.6))

    def _maintain(self) -> None:
        self._tell(DATABASE_MAINTENANCE, orders.Switch(on=self._random.random() < 0.6))

    def _find_maintenance(self) -> None:
        self._tell(DATABASE_MODE, orders.DatabaseMode(maintenance=self._random.random() < 0.6))

    def _reboot(self) -> None:
        self._tell(PREPARE_FOR_REBOOT, orders.RebootOrder())

    def _lose_host(self) -> None:
        if not self.outside.lost:
            host = self._random.choice(HOSTS)
            self.outside.lose(host)
            self._tell(HOST_LOST, orders.LostHost(host=host))

    def _limit(self) -> None:
        self._tell(LIMITS, orders.LimitsOrder(max_workers=self._random.choice([1, 3])))

    def _prioritise(self) -> None:
        rap_id = self._random.choice(self.creates)[0].rap_id
        self._tell(PRIORITISE, orders.PriorityOrder(rap_id=rap_id, priority=1))

    def _reweigh(self) -> None:
        rule = WeightRule(pattern=".*", weight=self._random.choice([0.5, 1.0, 2.0]))
        self._tell_rap(REWEIGH, Reweigh(weights=Weights(default=(rule,))))

    def _announce(self) -> None:
        self._tell_rap(ANNOUNCE, Announce())

    def _tell_rap(self, contract: object, message: Model) -> None:
        request = self._random.choice(self.creates)[0]
        rap = ids.rap_workflow_id(request.workspace, request.rap_id)
        self.server.signal(contract, rap, message)  # type: ignore[arg-type]

    def _tell(self, contract: object, message: Model) -> None:
        # Operators wait until an order is taken before they give the next.
        self._orders.append((contract, message))
        if len(self._orders) == 1:
            self._give_order()

    def _give_order(self) -> None:
        contract, message = self._orders[0]

        def go_on() -> None:
            del self._orders[0]
            if self._orders:
                self._give_order()

        self.server.signal(contract, self._backend_id, message, go_on)  # type: ignore[arg-type]

    def _switch_off(self) -> None:
        """Nothing holds jobs up any more, and a host that was lost is back to be cleared."""
        self.outside.find_again()
        self._tell(PAUSE, orders.Switch(on=False))
        self._tell(DATABASE_MAINTENANCE, orders.Switch(on=False))
        self._tell(DATABASE_MODE, orders.DatabaseMode(maintenance=False))
        self._tell(LIMITS, orders.LimitsOrder())

    @property
    def _backend_id(self) -> str:
        return ids.backend_workflow_id(self.backend)


_DEEDS = (
    *(Story._ask, Story._ask, Story._ask, Story._ask, Story._ask_again),
    *(Story._cancel, Story._cancel, Story._settle),
    *(Story._pause, Story._maintain, Story._find_maintenance, Story._reboot, Story._limit),
    *(Story._prioritise, Story._reweigh, Story._announce, Story._lose_host),
)
