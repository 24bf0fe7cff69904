"""When to poll, without a loop and without waiting."""

from __future__ import annotations

import math

import pytest

from yotta_async.polling.schedule import PollSchedule, draw_jitter


@pytest.fixture
def schedule() -> PollSchedule:
    return PollSchedule(jitter=lambda: 1.0)


def poll(schedule: PollSchedule, now: float, pods: int = 1) -> bool:
    is_regular = schedule.begin_poll(now, pods)
    if is_regular:
        schedule.note_all_polled(now)
    return is_regular


def test_the_shortest_interval_counts(schedule: PollSchedule) -> None:
    schedule.add_interval(5.0)
    schedule.add_interval(2.0)
    schedule.add_interval(2.0)
    assert poll(schedule, 100.0)
    assert schedule.next_poll(1) == 102.0
    schedule.remove_interval(2.0)
    assert schedule.next_poll(1) == 102.0, "another subscription has the same"
    schedule.remove_interval(2.0)
    assert schedule.next_poll(1) == 105.0


def test_each_interval_is_drawn_anew() -> None:
    factors = iter([1.1, 0.9])
    schedule = PollSchedule(jitter=lambda: next(factors))
    schedule.add_interval(10.0)
    poll(schedule, 100.0)
    assert schedule.next_poll(1) == 111.0
    poll(schedule, 111.0)
    assert schedule.next_poll(1) == 120.0


def test_clients_that_start_together_spread_their_polls() -> None:
    factors = [draw_jitter() for _ in range(1_000)]
    assert min(factors) == pytest.approx(0.9, abs=0.01)
    assert max(factors) == pytest.approx(1.1, abs=0.01)


def test_a_new_subscription_is_polled_early_and_puts_off_no_regular_poll(schedule: PollSchedule) -> None:
    schedule.add_interval(5.0)
    poll(schedule, 100.0)
    schedule.request_early_poll()
    assert schedule.next_poll(1) == pytest.approx(100.02)
    assert not poll(schedule, 101.0)
    assert schedule.next_poll(1) == 105.0


def test_with_many_pods_an_early_poll_waits_for_others(schedule: PollSchedule) -> None:
    schedule.add_interval(5.0)
    poll(schedule, 100.0)
    schedule.request_early_poll()
    assert schedule.next_poll(100) == 102.0
    assert schedule.next_poll(10_000) == 105.0
    assert not poll(schedule, 104.0)
    schedule.request_early_poll()
    assert schedule.next_poll(100) == 105.0, "the regular one comes first"


def test_a_last_poll_starts_shortly_before_a_deadline(schedule: PollSchedule) -> None:
    schedule.add_interval(5.0)
    poll(schedule, 100.0)
    schedule.add_deadline(1, 100.0, 103.0)
    assert schedule.next_poll(1) == pytest.approx(102.7)
    schedule.add_deadline(2, 0.0, 102.0)
    assert schedule.next_poll(1) == 101.5
    assert poll(schedule, 101.5)
    assert schedule.next_poll(1) == 106.5, "there is one last poll"


def test_expired_deadlines_come_once_and_those_removed_never(schedule: PollSchedule) -> None:
    for number in range(4):
        schedule.add_deadline(number, 0.0, 10.0 + number)
    schedule.remove_deadline(0, 10.0)
    assert schedule.pop_expired(9.0) == []
    assert schedule.pop_expired(12.0) == [1, 2]
    assert schedule.pop_expired(12.0) == []
    assert schedule.next_wakeup(0, is_polling=True) == 13.0
    schedule.remove_deadline(1, 11.0)
    assert schedule.next_wakeup(0, is_polling=True) == 13.0
    assert schedule.pop_expired(13.0) == [3]
    schedule.remove_deadline(3, 13.0)
    assert schedule.next_wakeup(0, is_polling=True) == math.inf


def test_the_next_wakeup_is_a_deadline_or_the_next_poll_unless_one_is_under_way(schedule: PollSchedule) -> None:
    schedule.add_interval(5.0)
    poll(schedule, 100.0)
    schedule.add_deadline(1, 0.0, 120.0)
    assert schedule.next_wakeup(1, is_polling=False) == 105.0
    assert schedule.next_wakeup(1, is_polling=True) == 120.0
    schedule.note_rate_limit(100.0, 60.0)
    assert schedule.next_wakeup(1, is_polling=False) == 120.0


def test_deadlines_of_ended_subscriptions_do_not_pile_up(schedule: PollSchedule) -> None:
    for number in range(10_000):
        schedule.add_deadline(number, 0.0, 1e6)
        schedule.remove_deadline(number, 1e6)
    assert schedule.next_wakeup(0, is_polling=True) == math.inf


def test_a_wish_of_the_api_delays_every_poll(schedule: PollSchedule) -> None:
    schedule.add_interval(1.0)
    poll(schedule, 100.0)
    schedule.note_rate_limit(100.0, 30.0)
    assert schedule.next_poll(1) == 130.0
    schedule.note_rate_limit(101.0, 10.0)
    assert schedule.next_poll(1) == 130.0, "a shorter one does not shorten it"
    schedule.note_rate_limit(130.0, None)
    assert schedule.next_poll(1) == 131.0, "nor does it count as a step of the backoff"
    schedule.note_rate_limit(100.0, 1e9)
    assert schedule.next_poll(1) == 400.0, "five minutes at most"


@pytest.mark.parametrize(
    ("interval", "expected"),
    [(5.0, [5, 10, 20, 40, 60, 60]), (1.0, [1, 2, 4, 8, 16, 32]), (90.0, [60, 60, 60, 60, 60, 60])],
)
def test_429_without_retry_after_backs_off_until_a_success(
    schedule: PollSchedule, interval: float, expected: list[float]
) -> None:
    schedule.add_interval(interval)
    delays = []
    now = 0.0
    for _ in range(6):
        schedule.note_rate_limit(now, None)
        delays.append(schedule.blocked_until - now)
        now = schedule.blocked_until
    assert delays == expected
    schedule.note_success()
    schedule.note_rate_limit(now, None)
    assert schedule.blocked_until - now == expected[0]


def test_an_idle_schedule_has_nothing_to_wake_up_for(schedule: PollSchedule) -> None:
    assert schedule.is_idle()
    assert schedule.next_wakeup(0, is_polling=True) == math.inf
