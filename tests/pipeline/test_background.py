"""Work in the background."""

import threading

import pytest

from pipeline.background import Writer, in_background


def test_it_is_done_and_its_error_is_raised_where_the_result_is_asked_for():
    assert in_background(lambda: 1).result() == 1
    with pytest.raises(ValueError, match="no such colour"):
        in_background(lambda: raises("no such colour")).result()


def test_jobs_of_a_writer_are_done_in_order_and_flushed_at_the_end():
    done = []
    writer = Writer(lambda: done.append("flush"), interval=60)
    writer.start()

    for number in range(3):
        writer.submit(lambda number=number: done.append(number))

    assert writer.close() == []
    assert done == [0, 1, 2, "flush"]


def test_a_writer_flushes_while_nothing_comes():
    flushed = threading.Event()
    writer = Writer(flushed.set, interval=0.01)
    writer.start()

    assert flushed.wait(5)
    writer.close()


def test_the_error_of_a_job_is_kept_and_the_next_job_is_done():
    done, error = [], ValueError("full")

    def raises():
        raise error

    writer = Writer(lambda: None, interval=60)
    writer.start()
    writer.submit(raises)
    writer.submit(lambda: done.append(1))

    assert writer.close() == [error]
    assert done == [1]


def test_the_error_of_a_flush_is_kept_and_it_is_called_again():
    calls, error = [], ValueError("full")
    again = threading.Event()

    def flush():
        calls.append(1)
        if len(calls) == 1:
            raise error
        again.set()

    writer = Writer(flush, interval=0.01)
    writer.start()

    assert again.wait(5)
    assert writer.close() == [error]


def raises(message):
    raise ValueError(message)
