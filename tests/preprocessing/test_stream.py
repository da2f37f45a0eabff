"""Decoding ahead and batching."""

import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolg_zoo.preprocessing import BadImageError, batch_by_shape, decode_ahead


def decode_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_results_come_in_order_whatever_ends_first():
    def work(source):
        time.sleep(0.002 * (source % 5 == 0))
        return source * 10

    results = list(decode_ahead(range(100), work, workers=4, ahead=8))
    assert results == [(index, index, index * 10) for index in range(100)]


def test_no_sources_give_no_results():
    assert list(decode_ahead([], str)) == []


def test_fewer_sources_than_ahead_all_come():
    assert [result for *_, result in decode_ahead("abc", str.upper)] == ["A", "B", "C"]


@pytest.mark.parametrize("ahead", [1, 3, 32])
def test_at_most_ahead_sources_are_drawn_beyond_the_last_result(ahead):
    drawn = []
    sources = (drawn.append(source) for source in range(200))
    for index, *_ in decode_ahead(sources, str, workers=2, ahead=ahead):
        assert len(drawn) <= index + ahead


def test_endless_sources_can_be_read():
    def forever():
        while True:
            yield 1

    results = decode_ahead(forever(), str, ahead=4)
    assert [next(results)[0] for _ in range(50)] == list(range(50))
    results.close()


def test_work_runs_in_as_many_threads_as_asked_for():
    meeting = threading.Barrier(3, timeout=10)
    assert len(list(decode_ahead(range(9), lambda _: meeting.wait(), workers=3))) == 9


def test_a_bad_image_takes_the_place_of_its_result():
    def work(source):
        if source == "b":
            raise BadImageError(source, "it is empty")
        return source

    (_, _, first), (index, source, error), (_, _, last) = decode_ahead("abc", work)
    assert (first, index, source, last) == ("a", 1, "b", "c")
    assert isinstance(error, BadImageError)
    assert error.reason == "it is empty"


def test_a_bad_image_does_not_keep_its_pixels():
    class Pixels:
        pass

    made = []

    def work(source):
        pixels = Pixels()
        made.append(weakref.ref(pixels))
        raise BadImageError(source, "it is damaged")

    errors = list(decode_ahead("a", work))
    assert errors
    assert made[0]() is None


def test_another_error_is_raised_at_its_turn():
    def work(source):
        return 1 // (3 - source)

    results = decode_ahead(range(10), work)
    assert [next(results)[2] for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not decode_threads()


def test_an_error_of_the_sources_comes_through():
    def sources():
        yield "a"
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        list(decode_ahead(sources(), str))
    assert not decode_threads()


@pytest.mark.parametrize("stop", [GeneratorExit, KeyboardInterrupt])
def test_a_consumer_that_stops_leaves_no_thread_and_no_work(stop):
    begun = []

    def work(source):
        begun.append(source)
        time.sleep(0.01)

    results = decode_ahead(range(1000), work, workers=2, ahead=50)
    next(results)
    with pytest.raises(stop):
        results.throw(stop)
    assert not decode_threads()
    assert len(begun) < 20


def test_ahead_must_be_positive():
    with pytest.raises(ValueError, match="ahead"):
        next(decode_ahead("a", str, ahead=0))


# Batches

SHAPES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=60)


def arrays_of(shapes):
    return [(key, np.full((*shape, 3), key, np.uint8)) for key, shape in enumerate(shapes)]


@given(SHAPES, st.integers(1, 6), st.integers(1, 20))
def test_every_array_is_in_exactly_one_batch(shapes, batch_size, max_pending):
    arrays = arrays_of(shapes)
    seen = []
    for keys, stacked in batch_by_shape(arrays, batch_size, max_pending):
        assert 1 <= len(keys) <= batch_size
        assert stacked.dtype == np.uint8
        for key, array in zip(keys, stacked, strict=True):
            assert np.array_equal(array, arrays[key][1])
        seen += keys
    assert sorted(seen) == list(range(len(shapes)))


@given(SHAPES, st.integers(1, 6), st.integers(1, 20))
def test_no_more_than_max_pending_arrays_wait(shapes, batch_size, max_pending):
    drawn = given_out = 0

    def source():
        nonlocal drawn
        for drawn, item in enumerate(arrays_of(shapes), start=1):
            yield item
            assert drawn - given_out <= max_pending

    for keys, _ in batch_by_shape(source(), batch_size, max_pending):
        given_out += len(keys)


def test_arrays_of_one_shape_come_in_full_batches_and_in_order():
    batches = [keys for keys, _ in batch_by_shape(arrays_of([(2, 2)] * 7), 3, 100)]
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_the_largest_group_goes_when_too_many_wait():
    shapes = [(1, 1), (2, 2), (1, 2), (2, 2), (2, 1)]
    batches = [keys for keys, _ in batch_by_shape(arrays_of(shapes), 10, 3)]
    assert batches == [[1, 3], [0], [2], [4]]


def test_arrays_that_left_in_a_batch_no_longer_wait():
    shapes = [(1, 1)] * 3 + [(2, 2), (1, 1), (2, 2)]
    batches = [keys for keys, _ in batch_by_shape(arrays_of(shapes), 3, 3)]
    assert batches == [[0, 1, 2], [3, 5], [4]]


@pytest.mark.parametrize(("batch_size", "max_pending"), [(0, 1), (1, 0)])
def test_limits_must_be_positive(batch_size, max_pending):
    with pytest.raises(ValueError, match="at least 1"):
        next(batch_by_shape([], batch_size, max_pending))


def test_a_batch_holds_no_more_pixels_than_it_may():
    arrays = [(i, np.zeros((10, 20, 3))) for i in range(7)] + [(7, np.zeros((50, 50, 3)))]
    batches = list(batch_by_shape(arrays, batch_size=16, max_pending=64, max_pixels=600))
    assert sorted(key for keys, _ in batches for key in keys) == list(range(8))
    for keys, batch in batches:
        assert len(keys) * batch.shape[1] * batch.shape[2] <= 600 or len(keys) == 1


def test_no_more_than_four_batches_of_pixels_wait():
    waiting = {}

    def arrays():
        for i in range(40):
            waiting[i] = 10 * (10 + i)
            yield i, np.zeros((10, 10 + i, 3))

    for keys, _ in batch_by_shape(arrays(), 16, max_pending=64, max_pixels=500):
        for key in keys:
            waiting.pop(key)
        assert sum(waiting.values()) <= 4 * 500
