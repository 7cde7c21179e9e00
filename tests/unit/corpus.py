"""All the tables of messages."""

from hypothesis import strategies as st

from tests.unit import test_http_conformance_chunks as chunks
from tests.unit import test_http_conformance_fields as fields
from tests.unit import test_http_conformance_lengths as lengths
from tests.unit import test_http_conformance_line as line
from tests.unit import test_http_conformance_targets as targets
from tests.unit.wire import Row

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
