"""All the tables of messages."""

from hypothesis import strategies as st

from tests.unit.http.conformance import test_chunks as chunks
from tests.unit.http.conformance import test_fields as fields
from tests.unit.http.conformance import test_lengths as lengths
from tests.unit.http.conformance import test_request_line as line
from tests.unit.http.conformance import test_targets as targets
from tests.unit.http.wire import Row

#: By what they are about.
TABLES: dict[str, list[Row]] = {
    "line": line.ROWS,
    "targets": targets.ROWS,
    "lengths": lengths.ROWS,
    "chunks": chunks.ROWS,
    "fields": fields.ROWS,
}
#: The messages that are short enough to be tried in many ways.
MESSAGES = [
    row.message for rows in TABLES.values() for row in rows if len(row.message) < 1024
]
#: Any of them; hypothesis would write out a list of all the messages themselves.
ANY_MESSAGE = st.sampled_from(range(len(MESSAGES))).map(MESSAGES.__getitem__)
