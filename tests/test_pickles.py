"""Pickles of numbers are read as Python reads them, and nothing else is."""

import pickle
import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from scalinglaw.datasets._pickles import numbers_of, read_pickle

CONTENT = {
    "numbers": [1, -2, 300, 70_000, 2**40, 0.5, True, None],
    "text": "words, \u00e9 and \u221e",
    "nested": [[1.5, 2.5], [], [[3]]],
    "pair": (1, (2, 3)),
    "inner": {"a": 1, "b": []},
    "bytes": b"\x00\xff",
}


def _equal(left, right):
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            _equal(left[key], right[key])
    else:
        assert left == right


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_are_read_from_every_protocol(protocol):
    _equal(read_pickle(pickle.dumps(CONTENT, protocol)), CONTENT)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(5, dtype=">i4"),
        np.array([True, False]),
        np.array([1, 255], dtype=np.uint8),
        np.array([0.5, np.nan, np.inf], dtype=np.float16),
        np.array(["one", "\u221e"]),
        np.array(["one", "two"], dtype=">U3"),
        np.array([b"a", b"bcd"]),
        np.empty((0, 3)),
        np.array(2.5),
        np.float64(2.5),
        np.int64(-7),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_arrays_are_read_from_every_protocol(array, protocol):
    both = read_pickle(pickle.dumps({"x": array, "again": array}, protocol))
    for read in (both["x"], both["again"]):
        assert_array_equal(read, array)
        assert np.shape(read) == array.shape
        assert read.dtype == array.dtype.newbyteorder("=")


def test_an_array_that_was_read_may_be_changed():
    read = read_pickle(pickle.dumps(np.arange(3.0)))
    read[0] = 5.0
    assert_array_equal(read, [5, 1, 2])


def _string(text):
    """Return a string as Python 2 writes it, of bytes."""
    text = text.encode() if isinstance(text, str) else text
    if len(text) < 256:
        return b"U" + bytes([len(text)]) + text
    return b"T" + struct.pack("<i", len(text)) + text


def _python2_array(array, core="numpy.core"):
    """Return an array of bytes as Python 2 writes it."""
    shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"t"
    dtype = b"cnumpy\ndtype\n" + _string("u1") + b"K\x00K\x01\x87R(K\x03" + _string("|")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    head = f"c{core}.multiarray\n_reconstruct\ncnumpy\nndarray\n".encode()
    head += b"K\x00\x85" + _string("b") + b"\x87R"
    return head + b"(K\x01" + shape + dtype + b"\x89" + _string(array.tobytes()) + b"tb"


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_a_batch_that_python_2_wrote_is_read(core):
    data = np.random.default_rng(0).integers(0, 256, (4, 3072)).astype(np.uint8)
    raw = b"\x80\x02}(" + _string("batch_label") + _string("training batch 1 of 5")
    raw += _string("data") + _python2_array(data, core)
    raw += _string("labels") + b"](K\x06K\x09K\x00K\x03e" + b"u."
    read = read_pickle(raw)
    assert list(read) == ["batch_label", "data", "labels"]
    assert read["batch_label"] == b"training batch 1 of 5"
    assert_array_equal(read["data"], data)
    assert read["labels"] == [6, 9, 0, 3]
    expected = pickle.loads(raw, encoding="bytes")
    assert_array_equal(expected[b"data"], read["data"])


def _array(dtype=None, shape=b"K\x01\x85", data=bytes(8), version=b"K\x01"):
    """Return a pickled array of one float, or of what is forged instead."""
    dtype = _dtype() if dtype is None else dtype
    head = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    )
    data = data if data[:1] == b"C" else b"C" + bytes([len(data)]) + data
    return b"\x80\x03" + head + b"(" + version + shape + dtype + b"\x89" + data + b"tb."


def _dtype(
    code="f8", state=b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
):
    return b"cnumpy\ndtype\n" + _string(code) + b"\x89\x88\x87R" + state


def test_the_forgeries_start_from_an_array_that_is_read():
    assert_array_equal(read_pickle(_array()), [0.0])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        # Names and opcodes that could run code, or make objects of other classes.
        (pickle.dumps(print), "it asks for builtins.print"),
        (b"cposix\nsystem\n.", "it asks for posix.system"),
        (b"cnumpy\nload\n.", "it asks for numpy.load"),
        (b"ccodecs\x1b[2J\nx\n.", r"it asks for codecs\\x1b\[2J.x"),
        (pickle.dumps({1, 2}, 4), "it asks for EMPTY_SET"),
        (b"\x80\x02\x82\x01.", "it asks for EXT1"),
        (b"Pname\n.", "it asks for PERSID"),
        (b"K\x01Q.", "it asks for BINPERSID"),
        (b"(inumpy\nndarray\n.", "it asks for INST"),
        (b"cnumpy\nndarray\n)\x81.", "it asks for NEWOBJ"),
        (b"cnumpy\nndarray\n)R.", "it calls what cannot be called"),
        (b"cnumpy\nndarray\n}b.", "it gives a state to what has none"),
        (b"cnumpy.core.multiarray\nscalar\n}b.", "it gives a state to what has none"),
        (b"\x80\x05\x97.", "it asks for NEXT_BUFFER"),
        # Arrays whose parts do not fit, or whose dtype has parts.
        (_array(data=bytes(7)), "an array of 7 bytes, not of 8"),
        (_array(shape=b"J\xff\xff\xff\xff\x85"), "an impossible shape"),
        (
            _array(shape=b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"),
            "8 bytes, not of 3689",
        ),
        (_array(shape=b"K\x01"), "an impossible shape"),
        (_array(shape=b"\x88\x85"), "an impossible shape"),
        (_array(version=b"K\x02"), "an array of an unknown version"),
        (_array(dtype=_dtype("V8")), "it asks for numpy.dtype"),
        (_array(dtype=_dtype("M8")), "it asks for numpy.dtype"),
        (_array(dtype=_dtype("f8,f8")), "it asks for numpy.dtype"),
        (_array(dtype=_dtype("O")), "it asks for numpy.dtype"),
        (_array(dtype=_dtype("c8")), "it asks for numpy.dtype"),
        (_array(dtype=_dtype("f8", b"")), "none of plain numbers"),
        (
            _array(dtype=_dtype(state=b"(K\x04U\x01<NNNK\x08K\x01K\x00tb")),
            "forged state",
        ),
        (
            _array(dtype=_dtype(state=b"(K\x03U\x01=NNNK\x08K\x01K\x00tb")),
            "forged state",
        ),
        (
            _array(dtype=_dtype(state=b"(K\x03U\x01<)NNK\x08K\x01K\x00tb")),
            "forged state",
        ),
        (
            _array(dtype=_dtype(state=b"(K\x03U\x01<NNNK\x40K\x01K\x00tb")),
            "forged size",
        ),
        (_array(_dtype() + b"(K\x03U\x01>NNNK\x08K\x01K\x00tb"), "what has none"),
        (
            _array(_dtype("b1", b"(K\x03U\x01|NNNK\x01K\x01K\x00tb"), data=b"\x02"),
            "neither true nor false",
        ),
        (
            _array(_dtype("U1", b"(K\x03U\x01<NNNK\x04K\x04K\x08tb"), data=b"\xff" * 4),
            "characters that Unicode does not have",
        ),
        (
            pickle.dumps(np.array([{}, 1], dtype=object), 3),
            "it asks for an array of objects",
        ),
        (b"\x80\x03]cnumpy\nndarray\na.", "an array without values, or a name"),
        # Lengths, indices and depths that are not the file's.
        (b"r\xff\xff\xff\x7f.", "it is no whole pickle"),
        (b"K\x01r\xff\xff\xff\x7f.", "it asks for the memo's entry 2147483647"),
        (b"K\x01p-1\n.", "it asks for the memo's entry -1"),
        (b"h\x05.", "it asks for the memo's entry 5|KeyError"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "a frame longer than"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.", "expected .* bytes"),
        (b"]" * 30 + b"a" * 29 + b".", "nests more than 8 containers"),
        (b")" + b"\x85" * 100_000 + b".", "nests more than 8 containers"),
        (b"]q\x00]" + b"h\x00a" * 5 + b"q\x01.", "one container in several places"),
        (b"](q\x00h\x00e.", "one container in several places|no whole pickle"),
        (b"(K\x01K\x02}s.", "sets items of what is no dictionary"),
        (b"}K\x01K\x02s.", "a key that is no text"),
        (b"}(U\x01aK\x01U\x01aK\x02u.", "has it twice"),
        (b"K\x01K\x02a.", "appends to what is no list"),
        # Damage.
        (b"", "exhausted before seeing STOP"),
        (b"\xff.", "unknown"),
        (b".", "it is no whole pickle"),
        (b"K\x01K\x02.", "it is no whole pickle"),
        (b"K\x01.K\x02.", "it goes on after its end"),
        (b"t.", r"it is no whole pickle \(IndexError"),
        (b"\x86.", "it is no whole pickle"),
    ],
)
def test_what_numbers_do_not_need_is_refused(raw, message):
    with pytest.raises(ValueError, match=message):
        read_pickle(raw)


@pytest.mark.parametrize(
    "value", ["text", {"a": 1}, [[1.0]], [np.arange(3)], np.array(["a"]), [2**70], None]
)
def test_what_is_no_array_of_numbers_is_refused(value):
    with pytest.raises(ValueError, match="not numbers"):
        numbers_of(value)
