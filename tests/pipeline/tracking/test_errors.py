"""An error of a store is permanent, so that the write is lost, or it may pass, so that the write is retried."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from pipeline.errors import RecordError
from pipeline.tracking.connection import is_refusal, open_experiment

POOL = "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00"
CLOSED = "(psycopg2.InterfaceError) connection already closed\n[SQL: INSERT INTO tags ...]"
TOO_LONG = "(psycopg2.errors.StringDataRightTruncation) value too long for type character varying(250)"


@pytest.mark.parametrize(
    ("text", "code", "refused"),
    [
        (TOO_LONG, BAD_REQUEST, True),
        (f"{TOO_LONG}\n[parameters: {POOL!r}]", BAD_REQUEST, True),
        (POOL, BAD_REQUEST, False),
        (CLOSED, BAD_REQUEST, False),
        ("(psycopg.InterfaceError) the connection is closed\n[SQL: INSERT INTO tags ...]", BAD_REQUEST, False),
        ("(MySQLdb._exceptions.InterfaceError) (0, '')\n[SQL: INSERT INTO tags ...]", BAD_REQUEST, False),
        ("Can't reconnect until invalid transaction is rolled back.", BAD_REQUEST, False),
        ("the run must be active", INVALID_PARAMETER_VALUE, True),
        ("(psycopg2.OperationalError) the server closed the connection", TEMPORARILY_UNAVAILABLE, False),
    ],
)
def test_what_a_server_without_a_connection_to_its_database_answers_may_pass(text, code, refused):
    assert is_refusal(MlflowException(text, error_code=code)) is refused


def test_an_experiment_that_a_store_does_not_create_is_an_error_in_a_sentence():
    class ReadOnly:
        def get_experiment_by_name(self, _):
            raise MlflowException("cannot execute INSERT in a read-only transaction\n[SQL: INSERT ...]", BAD_REQUEST)

    with pytest.raises(RecordError, match=r"must be a store that can be reached, .*read-only transaction$"):
        open_experiment(ReadOnly(), "http://127.0.0.1:1", "experiment")
