import contextlib
import io
import os
import sys

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from pipeline.hydra import launcher
from pipeline.hydra.groups import keys
from pipeline.sweep import live, run

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from(["1e999", "-0", "0x10", "1_0", "1e-3", "nan", "-inf"]))
WORDS = st.sampled_from(
    [
        "null",
        "true",
        "",
        "???",
        "[]",
        "{}",
        "[1,2]",
        "{a:1}",
        "${seed}",
        "${nothing}",
        "${oc.env:HOME}",
        "'a",
        '"',
        "a b",
    ]
)
CALLS = st.sampled_from(
    ["range(3)", "range(0)", "choice(1,x)", "glob(*)", "interval(0,1)", "sort(2,1)", "shuffle(1,2)"]
)
KEYS = st.one_of(st.sampled_from(keys()), st.sampled_from(keys()).map(lambda key: key[:-1]), TEXT)
PREFIXES = st.sampled_from(["", "", "", "", "+", "++", "~"])
VALUES = st.one_of(
    NUMBERS.map(str), WORDS, CALLS, TEXT, st.lists(NUMBERS.map(str), min_size=2, max_size=3).map(",".join)
)
OVERRIDES = st.one_of(
    st.builds("{}{}={}".format, PREFIXES, KEYS, VALUES), st.builds("{}{}".format, PREFIXES, KEYS)
).filter(lambda text: not text.startswith("-"))  # that would be an option


class StartedError(Exception):
    """A sweep got as far as to start something."""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Run in a folder of its own."""
    with contextlib.chdir(tmp_path_factory.mktemp("bad")):
        yield


def command(arguments):
    """Run the command line in this process; return its exit code and what it printed."""
    from pipeline.cli.app import main

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["pipeline", *arguments])
        # Whatever comes after the config is known to be good would start something.
        patch.setattr(live, "probe", started)
        patch.setattr(run, "show_dry_run", started)
        patch.setattr(launcher, "show_dry_run", started)
        try:
            main()
        except SystemExit as end:
            return end.code, out.getvalue(), err.getvalue()
        except StartedError:
            return 0, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def started(*_arguments, **_options):
    raise StartedError


@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example is short, and takes half a second
)
@given(many=st.booleans(), overrides=st.lists(OVERRIDES, min_size=1, max_size=3))
@example(many=False, overrides=["learning_rate="])
@example(many=True, overrides=["seed=range(1,1)"])
@example(many=False, overrides=["seed=" + "1" * 5000])  # longer than Python reads
@example(many=False, overrides=["experiment=notes/minibatch", "hydra.sweeper=x"])
@example(many=False, overrides=["experiment=notes/minibatch", "hydra.sweeper.params=7"])
@example(many=True, overrides=["+loss._target_=os.system"])
@example(many=True, overrides=["sweep.name=" + "x" * 7000, "steps=x"])
def test_generated_overrides_run_or_are_one_message(many, overrides):
    """More examples: ``FUZZ_EXAMPLES=5000 python -m pytest tests/pipeline/test_bad_input.py``."""
    code, out, err = command([*(["--multirun"] if many else []), *overrides])

    assert "Traceback" not in out + err
    if code != 0:
        assert code == 2
        lines = err.splitlines()
        assert lines[-1].startswith("error: "), err
        # The message names the parameter, or shows the override that cannot be read.
        named = [text.lstrip("+~").partition("=")[0].strip() for text in overrides]
        shown = [*named, *(repr(name.rpartition(".")[2]) for name in named), *map(repr, overrides)]
        assert any(name in lines[-1] for name in shown), (overrides, err)
