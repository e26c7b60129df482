"""One thread for matrix products, for as long as asked and no longer."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from labelwise.blas import one_blas_thread


def blas_threads() -> set[int]:
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("this BLAS has one thread only")
        yield


def test_holds_within_the_block_and_no_longer():
    with one_blas_thread():
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_an_inner_block_does_not_end_the_outer_one():
    with one_blas_thread():
        with one_blas_thread():
            pass
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_an_error_ends_the_block():
    with pytest.raises(RuntimeError), one_blas_thread():
        raise RuntimeError
    assert blas_threads() == {2}


def test_blocks_of_several_threads_leave_nothing_behind():
    def work(start: Barrier) -> None:
        start.wait()
        for _ in range(200):
            with one_blas_thread():
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [Barrier(4)] * 4))
    assert blas_threads() == {2}


def test_libraries_that_were_loaded_later_are_limited_too():
    code = """
        from threadpoolctl import threadpool_info, threadpool_limits
        from labelwise.blas import one_blas_thread
        with one_blas_thread():
            pass
        import scipy.optimize
        with threadpool_limits(2, user_api="blas"), one_blas_thread():
            print({x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"})
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    found = subprocess.run(command, capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "{1}"
