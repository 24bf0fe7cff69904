"""How to poll: the choice between gets, a list and a filtered list, without a loop."""

from __future__ import annotations

from collections import Counter

import pytest

from yotta_async import PodStatus
from yotta_async.polling.strategy import FetchMode, PollStrategy

CHOICES: list[tuple[int, dict[str, int], dict[str, int], FetchMode]] = [
    (1, {"INITIALIZE": 1}, {"RUNNING": 2000}, "gets"),
    (20, {"INITIALIZE": 20}, {"RUNNING": 2000}, (PodStatus.INITIALIZE,)),
    (2000, {"INITIALIZE": 2000}, {"INITIALIZE": 2000}, "list"),
    (2000, {"INITIALIZE": 2000}, {"INITIALIZE": 2000, "TERMINATED": 20000}, (PodStatus.INITIALIZE,)),
    (20, {"PENDING": 20}, {"PENDING": 20, "RUNNING": 5000}, "gets"),
    (100, {"PENDING": 100}, {"PENDING": 100, "RUNNING": 5000}, "list"),
    (100, {"INITIALIZE": 50, "PENDING": 50}, {"INITIALIZE": 50, "PENDING": 50, "RUNNING": 2000}, "list"),
    (1, {"INITIALIZE": 1}, {}, "gets"),
]


def count(pods: dict[str, int]) -> Counter[PodStatus | None]:
    return Counter({PodStatus(status): number for status, number in pods.items()})


@pytest.mark.parametrize(("wanted", "expected", "account", "mode"), CHOICES)
def test_the_cheapest_mode_is_chosen(
    wanted: int, expected: dict[str, int], account: dict[str, int], mode: FetchMode
) -> None:
    strategy = PollStrategy()
    strategy.note_list((), count(account))
    assert strategy.choose(wanted, count(expected), 5.0) == mode


def test_arrivals_in_a_status_widen_the_filter() -> None:
    strategy = PollStrategy()
    strategy.note_list((), count({"INITIALIZE": 1000, "RUNNING": 100, "TERMINATED": 50_000}))
    expected = count({"INITIALIZE": 1000})
    for arrivals, mode in [
        (0, (PodStatus.INITIALIZE,)),
        (1, (PodStatus.INITIALIZE,)),
        (2, (PodStatus.INITIALIZE, PodStatus.RUNNING)),
        (0, (PodStatus.INITIALIZE,)),
    ]:
        for _ in range(arrivals):
            strategy.note_arrival(PodStatus.RUNNING)
        assert strategy.choose(1000, expected, 5.0) == mode, "each 90 times as much as a pod in a list"


def test_every_list_updates_what_is_known_of_the_account() -> None:
    strategy = PollStrategy()

    def most_gets() -> int:
        return max(n for n in range(1, 26) if strategy.choose(n, count({"PENDING": n}), 5.0) == "gets")

    strategy.note_list((), count({"INITIALIZE": 1000, "TERMINATED": 1000}))
    assert most_gets() == 23
    strategy.note_list([PodStatus.INITIALIZE], count({"INITIALIZE": 10}))
    assert most_gets() == 12
    strategy.note_list((), count({"TERMINATED": 500}))
    assert most_gets() == 6


def test_the_cheaper_way_to_pods_that_a_filtered_list_did_not_show() -> None:
    strategy = PollStrategy()
    assert not strategy.is_list_better(1, 5.0)
    strategy.note_list((), count({"RUNNING": 100}))
    assert not strategy.is_list_better(2, 5.0)
    assert strategy.is_list_better(3, 5.0)


def test_a_filter_that_the_api_refuses_is_not_used_again() -> None:
    strategy = PollStrategy()
    strategy.note_list((), count({"RUNNING": 2000}))
    strategy.disable_filter()
    assert strategy.choose(20, count({"INITIALIZE": 20}), 5.0) == "gets"


def test_an_account_of_unknown_size_is_listed_only_for_many_pods() -> None:
    assert PollStrategy().choose(8, Counter(), 5.0) == "gets"
    assert PollStrategy().choose(9, Counter(), 5.0) == "list"


def test_at_most_five_pods_a_second_are_polled_by_gets() -> None:
    for strategy in (PollStrategy(), PollStrategy()):
        assert strategy.choose(3, Counter(), 1.0) == "gets"
        assert strategy.choose(3, Counter(), 0.5) == "list"
        assert strategy.choose(1, Counter(), 0.01) == "gets"
        assert strategy.choose(2, Counter(), 0.01) == "list"
        strategy.note_list((), count({"RUNNING": 100_000}))
        assert strategy.choose(5, count({"PENDING": 5}), 1.0) == "gets"
        assert strategy.choose(6, count({"PENDING": 6}), 1.0) == "list"
    assert strategy.is_list_better(3, 0.5)
    assert not strategy.is_list_better(2, 0.5)
