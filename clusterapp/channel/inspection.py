"""
How a master asks a child what it is doing while the child's event loop may stand.

The child's stdin stays open behind its bootstrap. A thread of the child reads it
and answers on stderr, in lines; the end of it is the notice of the master's death.
"""

#: What the master writes to ask once.
ASK = b"?"

#: The last line of an answer.
END = "end of the inspection"
