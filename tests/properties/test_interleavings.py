"""Random interleavings of attempts, events, aborts, retries and sweeps: what must hold after each step. For pytest."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.reasons import REASONS
from lambdas.core.records import BOOT, TERMINAL_STATES, TRAINING
from lambdas.core.reducer import Settlement
from tests.properties.budget import drawn, examples
from tests.properties.cloud_model import LONGEST_SECONDS, CloudModel
from tests.properties.documents import OTHER_RUN, RUN_ID

picks = st.integers(0, 1000)
TIMEOUT = {"Error": "States.Timeout", "Cause": ""}


class Interleavings(RuleBasedStateMachine):
    """One run in a cloud in which anything may come at any time, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.cloud = CloudModel(2)
        self.verdict: tuple[str, str] | None = None
        self.empty = False
        self.last_words: dict[int, str] = {}

    @initialize(max_attempts=st.integers(1, 3))
    def start(self, max_attempts: int) -> None:
        drawn["interleavings"] += 1
        self.cloud = CloudModel(max_attempts)
        self.cloud.begin(1)

    @property
    def record(self):
        return self.cloud.record

    @rule(seconds=st.sampled_from([1, 5, 30, 100, 200, 400, 3000]))
    def time_passes(self, seconds):
        self.cloud.now += seconds

    @precondition(lambda self: any(not launch.machine for launch in self.cloud.launches))
    @rule(hidden=st.integers(0, 400))
    def ec2_is_asked(self, hidden):
        self.cloud.ask(next(launch for launch in self.cloud.launches if not launch.machine), hidden)

    @precondition(lambda self: any(launch.machine for launch in self.cloud.launches))
    @rule(lost=st.booleans())
    def ec2_answers_or_its_answer_is_lost(self, lost):
        launch = next(launch for launch in self.cloud.launches if launch.machine)
        if lost:
            launch.machine = None
        else:
            self.cloud.hear(launch)

    @precondition(lambda self: self.cloud.waiting == BOOT and not self.cloud.stopped)
    @rule()
    def the_launch_is_called_again(self):
        self.cloud.launches.clear()
        self.cloud.begin(self.record.attempt)

    @precondition(lambda self: any(m.seq < 9 for m in self.cloud.alive()))
    @rule(pick=picks, status=st.sampled_from(["booting", "running", "running", "completed", "failed", "interrupted"]))
    def a_machine_reports(self, pick, status):
        """A machine should be silent after its last report; one that is not changes nothing."""
        talking = [m for m in self.cloud.alive() if m.seq < 9]
        self.cloud.say(talking[pick % len(talking)], status)

    @precondition(lambda self: self.cloud.written)
    @rule(pick=picks)
    def any_report_is_delivered(self, pick):
        """Early, late, twice, out of order, of an old attempt: each is one of all that were ever written."""
        self.cloud.deliver(self.cloud.written[pick % len(self.cloud.written)])

    @precondition(lambda self: self.cloud.written)
    @rule()
    def the_newest_report_is_delivered(self):
        self.cloud.deliver(self.cloud.written[-1])

    @precondition(lambda self: self.cloud.alive())
    @rule(pick=picks, notice=st.booleans())
    def a_machine_is_lost(self, pick, notice):
        machine = self.cloud.alive()[pick % len(self.cloud.alive())]
        self.cloud.terminate(machine)
        if self.record.attempt == machine.attempt and not self.record.closed_at:
            self.cloud.settle(Settlement("failure", code="SpotInterrupted" if notice else "InstanceLost"))

    @precondition(lambda self: self.cloud.waiting in (BOOT, TRAINING) and not self.cloud.stopped)
    @rule()
    def the_waiting_state_times_out(self):
        self.cloud.collect(TIMEOUT)

    @precondition(lambda self: self.cloud.waiting == "collect" and not self.cloud.stopped)
    @rule()
    def the_outcome_is_collected(self):
        told = self.cloud.settled
        failed = told is not None and told.kind == "failure"
        self.cloud.collect({"Error": told.code, "Cause": told.message} if failed else None)

    @rule()
    def a_person_stops_the_execution(self):
        if not self.empty:
            self.cloud.stopped = True

    @precondition(lambda self: self.cloud.stopped or self.cloud.cleaning)
    @rule()
    def somebody_cleans_up(self):
        self._clean()

    @rule()
    def a_sweep_of_the_dead_man_comes(self):
        self.cloud.stopped = True
        self._clean()

    def _clean(self) -> None:
        if self.cloud.clean():
            self.empty = True
            stopped = ("aborted", "Aborted")
            self.cloud.finish(*((self.cloud.verdict or stopped) if not self.cloud.stopped else stopped))

    @invariant()
    def one_attempt_at_most_is_believed(self):
        assert all(len(instances) == 1 for instances in self.cloud.heard.values())
        assert self.record.attempt <= self.record.request["max_attempts"]
        current = [a for a in self.record.attempts if a.instance_id == self.record.instance_id]
        assert len(current) <= 1
        assert all(a.attempt == self.record.attempt for a in current)

    @invariant()
    def the_last_word_of_an_attempt_stands(self):
        if self.record.state in TERMINAL_STATES:
            assert self.last_words.setdefault(self.record.attempt, self.record.state) == self.record.state
        assert self.last_words.get(self.record.attempt, self.record.state) == self.record.state

    @invariant()
    def a_verdict_never_changes(self):
        if self.record.ended_at:
            self.verdict = self.verdict or (self.record.status, self.record.reason_code)
            assert self.verdict == (self.record.status, self.record.reason_code)

    @invariant()
    def success_was_reported_by_the_attempt_that_is_believed(self):
        if self.record.status == "completed" or self.cloud.verdict == ("completed", ""):
            assert any(s["status"] == "completed" and s["attempt"] == self.record.attempt for s in self.cloud.written)

    @invariant()
    def nothing_of_the_run_is_forgotten_and_nothing_of_another_is_touched(self):
        if self.record.closed_at and self.cloud.inventory().empty:
            assert self.cloud.alive() == []
        if self.empty:
            assert self.cloud.alive() == []
        (other,) = [m for m in self.cloud.machines if m.run_id == OTHER_RUN]
        assert other.state(self.cloud.now) == "running"

    def teardown(self) -> None:
        """Whatever happened, the nets end the run: a verdict of the list, and no machine."""
        self.cloud.stopped = True
        for _ in range(5):
            for launch in list(self.cloud.launches):
                self.cloud.ask(launch, 0)
            for launch in [one for one in self.cloud.launches if one.machine]:
                self.cloud.hear(launch)
            self._clean()
            self.cloud.now += LONGEST_SECONDS
        assert self.cloud.alive() == []
        assert self.record.run_id == RUN_ID
        assert self.record.ended_at
        assert self.record.status == "completed" or self.record.reason_code in REASONS


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(examples(400), stateful_step_count=40)
