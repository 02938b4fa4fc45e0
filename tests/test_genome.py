"""What a checkpoint on disk is: its genome, its digest, its header facts. The files are real:
written by the safetensors library, by hand where they lie, and checked against sha256sum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save, save_file

import lineage
from lineage import genome
from lineage.errors import GenomeError, LineageError


def tensors(path: Path, seed: int = 0, dtype: type = np.float32, **shapes: tuple[int, ...]) -> Path:
    """A real safetensors file; by default a weight of 4 x 3 and a bias of 4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shapes = shapes or {"weight": (4, 3), "bias": (4,)}
    save_file({name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}, str(path))
    return path


def put(path: Path, content: bytes | str = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def header(path: Path, content: object, data: bytes = b"") -> Path:
    """A safetensors file with any header, given as an object or as its bytes."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return put(path, struct.pack("<Q", len(raw)) + raw + data)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def genome_names(folder: Path) -> list[str]:
    return [file.path for file in genome.read(folder).files if file.genome]


# The digest


def test_the_digest_of_one_weight_file_is_what_sha256sum_says(tmp_path: Path) -> None:
    path = tensors(tmp_path / "run" / "model.safetensors")
    said = subprocess.check_output(["sha256sum", path], text=True).split()[0]
    assert genome.read(tmp_path / "run").digest == said
    assert genome.read(path).digest == said


def test_the_digest_of_several_is_what_the_documented_command_says(tmp_path: Path) -> None:
    for number in range(1, 4):
        tensors(tmp_path / f"model-{number:05}-of-00003.safetensors", seed=number)
    said = subprocess.check_output(
        "sha256sum *.safetensors | cut -c1-64 | sort | sha256sum",
        shell=True,
        text=True,
        cwd=tmp_path,
    )
    assert genome.read(tmp_path).digest == said.split()[0]


def test_digests_that_are_known() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert genome.combined([abc]) == abc
    both = hashlib.sha256(f"{abc}\n{empty}\n".encode()).hexdigest()
    assert genome.combined([empty, abc]) == genome.combined([abc, empty]) == both


def test_the_same_weights_under_other_names_are_the_same_genome(tmp_path: Path) -> None:
    for number in (1, 2):
        tensors(tmp_path / "a" / f"model-0000{number}-of-00002.safetensors", seed=number)
        tensors(tmp_path / "b" / f"part{3 - number}.safetensors", seed=number)
    put(tmp_path / "b" / "README.md", "only carried")
    assert genome.read(tmp_path / "a").digest == genome.read(tmp_path / "b").digest


def test_every_file_is_listed_with_its_size_and_digest(tmp_path: Path) -> None:
    model = tensors(tmp_path / "model.safetensors")
    optimizer = put(tmp_path / "optimizer.pt", b"momentum" * 1000)
    vocabulary = put(tmp_path / "tokenizer" / "vocab.json", "{}")
    seen = genome.read(tmp_path)
    assert [(f.path, f.bytes, f.sha256, f.genome) for f in seen.files] == [
        ("model.safetensors", model.stat().st_size, sha(model), True),
        ("optimizer.pt", 8000, sha(optimizer), False),
        ("tokenizer/vocab.json", 2, sha(vocabulary), False),
    ]
    assert seen.bytes == model.stat().st_size
    assert seen.path == str(tmp_path)


# Which files are the genome


WEIGHTS = """model.safetensors pytorch_model.bin adapter_model.bin consolidated.00.pth ckpt.pt
    q4.gguf epoch=3-step=400.ckpt tf_model.h5 net.keras flax_model.msgpack net.onnx weights.npz
    variables.data-00000-of-00001 pytorch_model_fsdp_0/__0_0.distcp MODEL.SafeTensors
    optimized.bin scalers.npz"""
NO_WEIGHTS = """optimizer.pt optimizer.bin optimizer_1.bin optimizer.safetensors optim.pt
    scheduler.pt lr_scheduler.bin scaler.pt rng_state.pth rng_state_0.pth random_states_0.pkl
    sampler.bin training_args.bin trainer_state.json model.safetensors.index.json tokenizer.model
    tokenizer.bin optimizer_0/__0_0.distcp custom_checkpoint_0.pkl config.json README.md
    global_step12/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt .cache/model.bin .hidden.bin
    checkpoint-500/model.safetensors data.binary safetensors bin"""


@pytest.mark.parametrize("name", WEIGHTS.split())
def test_a_weight_file(name: str) -> None:
    assert genome.weights([name]) == {name}


@pytest.mark.parametrize("name", NO_WEIGHTS.split())
def test_no_weight_file(name: str) -> None:
    assert genome.weights([name]) == frozenset()


@pytest.mark.parametrize(
    ("listing", "chosen"),
    [
        ("model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack", "model.safetensors"),
        ("pytorch_model.bin tf_model.h5 flax_model.msgpack", "pytorch_model.bin"),
        ("model.safetensors onnx/model.onnx onnx/model.onnx_data", "model.safetensors"),
        ("onnx/model.onnx onnx/model.onnx_data", "onnx/model.onnx onnx/model.onnx_data"),
        ("model.safetensors original/consolidated.00.pth", "model.safetensors"),
        ("consolidated.safetensors model-1-of-1.safetensors", "model-1-of-1.safetensors"),
        ("consolidated.safetensors params.json", "consolidated.safetensors"),
        ("m.safetensors m.fp16.safetensors m.bin", "m.safetensors"),
        ("m.fp16.safetensors m.bin", "m.fp16.safetensors"),
        (
            "unet/d.safetensors unet/d.bin vae/d.bin model_index.json",
            "unet/d.safetensors vae/d.bin",
        ),
        (
            "model.safetensors global_step9/mp_rank_00_model_states.pt",
            "model.safetensors",
        ),
    ],
)
def test_one_format_of_the_same_weights_is_the_genome(listing: str, chosen: str) -> None:
    assert genome.weights(listing.split()) == set(chosen.split())


def test_a_folder_as_the_trainer_of_transformers_leaves_it(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-500"
    tensors(checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        put(checkpoint / name, b"\x80\x04never load this")
    put(checkpoint / "trainer_state.json", "{}")
    put(checkpoint / "config.json", '{"architectures": ["LlamaForCausalLM"]}')
    seen = genome.read(checkpoint)
    assert [f.path for f in seen.files if f.genome] == ["model.safetensors"]
    assert len(seen.files) == 7
    assert (seen.parameters, seen.precision) == (16, "F32")
    assert seen.architecture == "LlamaForCausalLM"


def test_checkpoints_inside_a_checkpoint_are_left_out_wholly(tmp_path: Path) -> None:
    tensors(tmp_path / "model.safetensors")
    alone = genome.read(tmp_path)
    for step in (500, 1000):
        tensors(tmp_path / f"checkpoint-{step}" / "model.safetensors", seed=step)
    assert genome.read(tmp_path) == alone


def test_a_folder_of_checkpoints_alone_says_so(tmp_path: Path) -> None:
    for step in (500, 1000):
        tensors(tmp_path / f"checkpoint-{step}" / "model.safetensors")
    with pytest.raises(GenomeError, match=r"'checkpoint-1000', 'checkpoint-500'.*register each"):
        genome.read(tmp_path)


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    tensors(tmp_path / "model.safetensors")
    put(tmp_path / ".git" / "objects" / "pack.bin")
    put(tmp_path / ".DS_Store")
    assert [file.path for file in genome.read(tmp_path).files] == ["model.safetensors"]


def test_without_weights_it_says_what_was_looked_for(tmp_path: Path) -> None:
    put(tmp_path / "optimizer.pt")
    with pytest.raises(GenomeError, match=r"holds no weight file\. Looked for \*\.safetensors"):
        genome.read(tmp_path)
    with pytest.raises(GenomeError, match=r"optimizer\.pt' is not a weight file"):
        genome.read(tmp_path / "optimizer.pt")


def test_a_missing_shard_is_told(tmp_path: Path) -> None:
    for number in (1, 3):
        tensors(tmp_path / f"model-0000{number}-of-00003.safetensors", seed=number)
    with pytest.raises(GenomeError, match=r"model' is in 3 shards.*2 are here"):
        genome.read(tmp_path)
    with pytest.raises(GenomeError, match="1 are here"):
        genome.read(tmp_path / "model-00001-of-00003.safetensors")


# Header facts


def test_facts_are_summed_over_shards(tmp_path: Path) -> None:
    tensors(tmp_path / "model-1-of-2.safetensors", dtype=np.float16, big=(100, 10))
    tensors(tmp_path / "model-2-of-2.safetensors", dtype=np.float32, small=(9,), scalar=())
    seen = genome.read(tmp_path)
    assert (seen.parameters, seen.precision) == (1010, "F16")


def test_facts_are_unknown_where_no_header_tells_them(tmp_path: Path) -> None:
    put(tmp_path / "pytorch_model.bin")
    seen = genome.read(tmp_path)
    assert (seen.parameters, seen.precision, seen.architecture) == (None, None, None)
    tensors(tmp_path / "unet" / "model.safetensors")
    assert genome.read(tmp_path).parameters is None, "part of a count is no count"


def test_a_file_without_tensors_has_no_parameters_and_no_precision(tmp_path: Path) -> None:
    save_file({}, str(tmp_path / "model.safetensors"))
    seen = genome.read(tmp_path)
    assert (seen.parameters, seen.precision) == (0, None)


@pytest.mark.parametrize(
    ("dtype", "count", "size"),
    [("F4", 6, 3), ("F6_E2M3", 4, 3), ("F8_E4M3", 5, 5), ("BF16", 3, 6), ("C64", 1, 8)],
)
def test_data_types_that_numpy_has_not(tmp_path: Path, dtype: str, count: int, size: int) -> None:
    tensor = {"dtype": dtype, "shape": [count], "data_offsets": [0, size]}
    seen = genome.read(header(tmp_path / "model.safetensors", {"t": tensor}, bytes(size)))
    assert (seen.parameters, seen.precision) == (count, dtype)


DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I8": np.int8, "BOOL": np.bool_}


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 5), max_size=4)),
        max_size=6,
    ),
    st.none() | st.dictionaries(st.text(), st.text(), min_size=1, max_size=2),
)
def test_facts_are_what_the_library_wrote(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: dict[str, tuple[str, list[int]]],
    metadata: dict[str, str] | None,
) -> None:
    written = {name: np.zeros(shape, DTYPES[dtype]) for name, (dtype, shape) in shapes.items()}
    path = tmp_path_factory.mktemp("facts") / "model.safetensors"
    path.write_bytes(save(written, metadata))
    counts: Counter[str] = Counter()
    for name, (dtype, _) in shapes.items():
        counts[dtype] += written[name].size
    seen = genome.read(path)
    assert seen.parameters == counts.total()
    if seen.parameters:
        assert counts[seen.precision or ""] == max(counts.values())
    else:
        assert seen.precision is None


@settings(max_examples=200)
@given(st.integers(0, 200), st.integers(0, 255), st.sampled_from([0, 0, 0, 1, 8, 40]))
def test_a_damaged_file_is_read_as_the_library_reads_it_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: int
) -> None:
    raw = bytearray(save({"weight": np.ones((4, 3), np.float32), "bias": np.ones(4, np.float16)}))
    raw[at % len(raw)] = byte
    path = tmp_path_factory.mktemp("damaged") / "model.safetensors"
    path.write_bytes(raw[: len(raw) - cut])
    try:
        read = load(path.read_bytes())
    except Exception:  # whatever it is, the library refuses, and so may we
        with contextlib.suppress(GenomeError):
            genome.read(path)
    else:
        assert genome.read(path).parameters == sum(tensor.size for tensor in read.values())


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
LIES: dict[str, tuple[object, int, str]] = {
    "not JSON": (b"{{", 0, "not JSON"),
    "not UTF-8": (b'{"\xff": 1}', 0, "not JSON"),
    "UTF-16": ("{}".encode("utf-16"), 0, "not JSON"),
    "nested": (b'{"a":' * 200_000, 0, "not JSON"),
    "long digits": (b'{"a": ' + b"9" * 10_000 + b"}", 0, "not JSON"),
    "a list": ([], 0, "not a JSON object"),
    "a tensor without description": ({"t": 3}, 0, "not described"),
    "no shape": ({"t": {"dtype": "F32", "data_offsets": [0, 8]}}, 8, "impossible shape"),
    "a negative shape": ({"t": GOOD | {"shape": [-1, -2]}}, 8, "impossible shape"),
    "a fraction": ({"t": GOOD | {"shape": [2.0]}}, 8, "impossible shape"),
    "true for one": ({"t": GOOD | {"shape": [2, True]}}, 8, "impossible shape"),
    "text for a shape": ({"t": GOOD | {"shape": "2"}}, 8, "impossible shape"),
    "1,000 axes": ({"t": GOOD | {"shape": [2] + [1] * 999}}, 8, "impossible shape"),
    "offsets backwards": ({"t": GOOD | {"data_offsets": [8, 0]}}, 8, "impossible offsets"),
    "negative offsets": ({"t": GOOD | {"data_offsets": [-8, 0]}}, 8, "impossible offsets"),
    "far offsets": ({"t": GOOD | {"data_offsets": [0, 10**4000]}}, 8, "impossible offsets"),
    "three offsets": ({"t": GOOD | {"data_offsets": [0, 8, 8]}}, 8, "impossible offsets"),
    "an unknown type": ({"t": GOOD | {"dtype": "\x1b[31m"}}, 8, "unknown data type"),
    "a type of no bits": ({"t": GOOD | {"dtype": "F0"}}, 8, "unknown data type"),
    "a list for a type": ({"t": GOOD | {"dtype": ["F32"]}}, 8, "unknown data type"),
    "too large a shape": ({"t": GOOD | {"shape": [2**70]}}, 8, "does not fit its bytes"),
    "too small a shape": ({"t": GOOD | {"shape": [1]}}, 8, "does not fit its bytes"),
    "a file cut short": ({"t": GOOD}, 7, "need 8 bytes, and it has 7"),
    "something hidden behind": ({"t": GOOD}, 9, "need 8 bytes, and it has 9"),
    "a hole": ({"t": GOOD | {"data_offsets": [8, 16]}}, 16, "hole or overlap"),
    "an overlap": ({"a": GOOD, "b": GOOD | {"data_offsets": [4, 12]}}, 12, "hole or overlap"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_names_the_file_and_the_lie(tmp_path: Path, lie: str) -> None:
    content, size, said = LIES[lie]
    path = header(tmp_path / "model.safetensors", content, bytes(size))
    with pytest.raises(GenomeError, match=said) as caught:
        genome.read(tmp_path)
    assert str(path) in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("length", [1, 2**31, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_a_lie(tmp_path: Path, length: int) -> None:
    put(tmp_path / "model.safetensors", struct.pack("<Q", length))
    with pytest.raises(GenomeError, match=r"in a file of 8\b"):
        genome.read(tmp_path)


def test_a_file_too_short_for_a_header_is_a_lie(tmp_path: Path) -> None:
    with pytest.raises(GenomeError, match=r"in a file of 3\b"):
        genome.read(put(tmp_path / "model.safetensors", b"abc"))


def test_a_header_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = put(tmp_path / "model.safetensors", struct.pack("<Q", genome.MAX_HEADER + 1))
    os.truncate(path, genome.MAX_HEADER + 100)  # a hole on disk, no bytes
    with pytest.raises(GenomeError, match="longer than 100,000,000"):
        genome.read(path)


def test_the_header_of_a_carried_file_is_not_asked(tmp_path: Path) -> None:
    tensors(tmp_path / "model.safetensors")
    put(tmp_path / "optimizer.safetensors", b"no header at all")
    assert genome.read(tmp_path).parameters == 16


def test_an_empty_weight_file_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "pytorch_model.bin", b"")
    with pytest.raises(GenomeError, match=r"pytorch_model\.bin' is empty"):
        genome.read(tmp_path)


def test_a_git_lfs_pointer_is_told_from_weights(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 9\n"
    put(tmp_path / "pytorch_model.bin", pointer)
    with pytest.raises(GenomeError, match="git lfs pull"):
        genome.read(tmp_path)


@pytest.mark.parametrize(
    ("config", "architecture"),
    [
        ('{"architectures": ["A", "B"], "model_type": "m"}', "A"),
        ('{"architectures": [], "model_type": "m"}', "m"),
        ('{"architectures": null, "model_type": "m"}', "m"),
        ('{"architectures": [3], "model_type": "m"}', "m"),
        ('{"architectures": ["<b>\\n"]}', "<b>\n"),
        ('{"architectures": ["\\ud800"]}', None),
        ('{"architectures": "A"}', None),
        ('{"model_type": " "}', None),
        ("[]", None),
        ("{", None),
        ("[" * 200_000, None),
        (b"\xff\xfe\xff", None),
        ("", None),
        (b'{"model_type": "m"}' + b" " * genome.MAX_CONFIG, None),
    ],
)
def test_architecture_is_what_config_says_or_unknown(
    tmp_path: Path, config: bytes | str, architecture: str | None
) -> None:
    tensors(tmp_path / "model.safetensors")
    put(tmp_path / "config.json", config)
    assert genome.read(tmp_path).architecture == architecture


def test_config_speaks_for_a_file_only_where_the_file_name_says_nothing(tmp_path: Path) -> None:
    put(tmp_path / "config.json", '{"model_type": "llama"}')
    assert genome.read(tensors(tmp_path / "model.safetensors")).architecture == "llama"
    assert genome.read(tensors(tmp_path / "vae.safetensors")).architecture is None


# ONNX with external data


def field(number: int, content: bytes | int) -> bytes:
    def varint(value: int) -> bytes:
        low, rest = value & 0x7F, value >> 7
        return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def external(location: str, place: int = 1) -> bytes:
    """A TensorProto with its data in `location`."""
    entry = field(1, b"location") + field(2, location.encode())
    offset = field(1, b"offset") + field(2, b"0")
    return field(1, 2) + field(8, b"t") + field(13, offset) + field(13, entry) + field(14, place)


def onnx(*initializers: bytes) -> bytes:
    graph = field(2, b"graph") + b"".join(field(5, tensor) for tensor in initializers)
    return field(1, 8) + field(2, b"by hand") + field(7, graph)


def test_external_data_of_onnx_is_genome(tmp_path: Path) -> None:
    inside = field(1, 2) + field(9, bytes(10_000))
    put(tmp_path / "net.onnx", onnx(inside, external("layer.0.weight"), external("./d/e.raw")))
    put(tmp_path / "layer.0.weight", b"1")
    put(tmp_path / "d" / "e.raw", b"2")
    put(tmp_path / "other", b"3")
    assert genome_names(tmp_path) == ["d/e.raw", "layer.0.weight", "net.onnx"]
    alone = genome.read(tmp_path / "net.onnx")
    assert alone.digest == genome.read(tmp_path).digest
    assert [f.path for f in alone.files] == ["d/e.raw", "layer.0.weight", "net.onnx"]


def test_external_data_hides_in_constants_branches_and_functions(tmp_path: Path) -> None:
    constant = field(4, b"Constant") + field(5, field(1, b"value") + field(5, external("a")))
    branch = field(4, b"If") + field(5, field(6, field(5, external("b"))))
    sparse = field(15, field(1, external("c")) + field(2, external("d")))
    graph = field(1, constant) + field(1, branch) + sparse
    function = field(7, field(5, field(10, external("e"))))
    put(tmp_path / "net.onnx", field(7, graph) + field(25, function))
    for name in "abcde":
        put(tmp_path / name, name)
    assert genome_names(tmp_path) == [*"abcde", "net.onnx"]


def test_external_data_is_relative_to_the_model(tmp_path: Path) -> None:
    put(tmp_path / "decoder" / "net.onnx", onnx(external("weights.raw")))
    put(tmp_path / "decoder" / "weights.raw")
    assert genome_names(tmp_path) == ["decoder/net.onnx", "decoder/weights.raw"]


def test_a_location_that_is_not_in_use_is_ignored(tmp_path: Path) -> None:
    put(tmp_path / "net.onnx", onnx(external("/etc/passwd", place=0)))
    assert genome_names(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "a/../../secret", "", "way/out"])
def test_a_location_that_leaves_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    put(tmp_path / "secret")
    put(tmp_path / "elsewhere" / "out")
    path = put(tmp_path / "net" / "net.onnx", onnx(external(location)))
    (tmp_path / "net" / "way").symlink_to(tmp_path / "elsewhere")
    for place in (path, path.parent):
        with pytest.raises(GenomeError, match=r"net\.onnx' keeps weights in .* outside its folder"):
            genome.read(place)


@pytest.mark.parametrize("location", ["gone.raw", ".", "x\x1b[31m"])
def test_external_data_that_is_not_there_is_an_error(tmp_path: Path, location: str) -> None:
    put(tmp_path / "net.onnx", onnx(external(location)))
    with pytest.raises(GenomeError) as caught:
        genome.read(tmp_path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        field(7, b"x")[:-1] + b"",
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff" * 20,
        b"\x3b",
        b"\x39123",
        field(7, b"\x2a\x7f"),
        field(7, field(5, b"\x6a\x05ab")),
    ],
)
def test_an_onnx_file_whose_lengths_lie_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(GenomeError, match=r"net\.onnx' is not what it claims to be"):
        genome.read(put(tmp_path / "net.onnx", raw))


def test_a_deep_onnx_file_is_no_danger(tmp_path: Path) -> None:
    graph = b""
    for _ in range(3_000):
        graph = field(1, field(5, field(6, graph)))
    assert genome.read(put(tmp_path / "net.onnx", field(7, graph))).bytes > 6_000


# Links, pipes, permissions, names


def test_a_snapshot_of_the_hugging_face_cache(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--net"
    blob = tensors(repository / "blobs" / "model")
    named = blob.rename(blob.with_name(sha(blob)))
    snapshot = repository / "snapshots" / ("0" * 40)
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{named.name}")
    seen = genome.read(snapshot)
    assert seen.digest == named.name
    assert (seen.bytes, seen.parameters) == (named.stat().st_size, 16)
    assert genome.default_name(snapshot) == "org/net"
    assert genome.default_name(snapshot / "model.safetensors") == "org/net"


def test_the_name_of_a_blob_is_not_trusted(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / ("a" * 64), b"not what the name says")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.bin").symlink_to(f"../blobs/{'a' * 64}")
    assert genome.read(tmp_path / "run").digest == sha(tmp_path / "blobs" / ("a" * 64))


def test_the_folder_may_be_a_link_and_keeps_the_path_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors(tmp_path / "real" / "model.safetensors")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    seen = genome.read("link/")
    assert seen.path == str(tmp_path / "link")
    assert seen.digest == genome.read("real").digest


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    tensors(tmp_path / "run" / "model.safetensors")
    tensors(tmp_path / "other" / "model.safetensors", seed=1)
    (tmp_path / "run" / "loop").symlink_to(".")
    (tmp_path / "run" / "other").symlink_to("../other")
    (tmp_path / "run" / "latest.ckpt").symlink_to("../other")
    assert [f.path for f in genome.read(tmp_path / "run").files] == ["model.safetensors"]


def test_what_is_no_file_is_left_out_and_never_waited_for(tmp_path: Path) -> None:
    tensors(tmp_path / "model.safetensors")
    os.mkfifo(tmp_path / "log")
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    seen = genome.read(tmp_path)
    assert [f.path for f in seen.files] == ["model.safetensors"]
    assert seen.architecture is None


@pytest.mark.parametrize("kind", ["pipe", "socket", "dead link", "link to itself", "device"])
def test_weights_that_are_no_file_are_an_error(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    model = Path("model.safetensors")
    if kind == "pipe":
        os.mkfifo(model)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(model))
    else:
        model.symlink_to({"dead link": "gone", "device": "/dev/zero"}.get(kind, model))
    with pytest.raises(GenomeError, match=r"model\.safetensors"):
        genome.read(".")
    with pytest.raises(GenomeError, match=r"model\.safetensors"):
        genome.read(model)


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """No right to `path` meanwhile; root, who needs none, becomes nobody."""
    root = os.geteuid() == 0
    path.chmod(0)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(0o700)


@pytest.mark.parametrize("name", ["model.safetensors", "data/notes.txt", "data"])
def test_what_may_not_be_read_is_named(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own folder is closed to others
        folder = Path(place)
        tensors(folder / "model.safetensors")
        put(folder / "data" / "notes.txt")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        with (
            unreadable(folder / name),
            pytest.raises(GenomeError, match=f"{name}' cannot be read: Permission denied"),
        ):
            genome.read(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/mem is Linux")
def test_a_disk_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes").symlink_to("/proc/self/mem")
    tensors(tmp_path / "model.safetensors")
    with pytest.raises(GenomeError, match=r"notes' cannot be read: Input/output error"):
        genome.read(tmp_path)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no file names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_refused_in_words(tmp_path: Path) -> None:
    tensors(tmp_path / "model.safetensors")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/notes-\xff")).touch()
    with pytest.raises(GenomeError, match=r"notes-\\udcff'.*rename it") as caught:
        genome.read(tmp_path)
    str(caught.value).encode()
    for act in (genome.read, genome.default_name, genome.total_bytes):
        with pytest.raises(GenomeError, match="Rename"):
            act(os.fsdecode(b"/tmp/\xff"))


def test_odd_names_are_only_names(tmp_path: Path) -> None:
    names = ["a\nb.bin", "\x1b[31m.bin", "<b>'\".bin", "\u202egpj.bin", "-rf.bin", "模型.bin"]
    for number, name in enumerate(names):
        put(tmp_path / name, str(number))
    assert genome_names(tmp_path) == sorted(names)


@pytest.mark.parametrize("path", ["", "nowhere/at/all", "x\0y", "y" * 5000])
def test_a_path_that_leads_nowhere_is_an_error_in_words(path: str) -> None:
    with pytest.raises(LineageError) as caught:
        genome.read(path)
    assert isinstance(caught.value, GenomeError)


# Files that change, progress, threads


def test_a_file_that_grows_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "model.bin", bytes(3 << 20))

    def grow(_: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(GenomeError, match=r"model\.bin' changed while it was read"):
        genome.read(tmp_path, progress=grow)


def test_a_file_that_is_replaced_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "run" / "model.bin", bytes(3 << 20))

    def replace(_: int) -> None:
        os.replace(put(tmp_path / "new", bytes(3 << 20)), path)

    with pytest.raises(GenomeError, match="changed"):
        genome.read(tmp_path / "run", progress=replace)


def test_a_file_that_is_removed_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "model.bin", bytes(3 << 20))
    with pytest.raises(GenomeError, match=r"model\.bin"):
        genome.read(tmp_path, progress=lambda _: path.unlink(missing_ok=True))


def test_progress_adds_up_to_all_bytes(tmp_path: Path) -> None:
    put(tmp_path / "model.bin", bytes(5_000_000))
    put(tmp_path / "optimizer.pt", bytes(3_000_000))
    put(tmp_path / "empty.txt", b"")
    told: list[int] = []
    genome.read(tmp_path, progress=told.append)
    assert sum(told) == genome.total_bytes(tmp_path) == 8_000_000
    assert len(told) > 5
    assert genome.total_bytes(tmp_path / "model.bin") == 5_000_000


def test_an_error_in_progress_ends_the_reading_at_once(tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path / f"{number}.bin", bytes(4 << 20))
    told: list[int] = []
    threads = threading.active_count()

    def interrupt(count: int) -> None:
        told.append(count)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        genome.read(tmp_path, progress=interrupt, workers=2)
    assert len(told) <= 20, "most of 80 blocks were never read"
    assert threading.active_count() == threads


def test_workers_change_nothing_but_the_time(tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path / f"{number}.bin", str(number) * 100_000)
    one = genome.read(tmp_path, workers=1)
    assert genome.read(tmp_path) == genome.read(tmp_path, workers=7) == one


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, lineage.genome; print([m for m in ('numpy', 'safetensors', 'sqlalchemy', "
        "'pickle', 'torch') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# Names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/runs/sft", "sft"),
        ("/runs/sft/", "sft"),
        ("/runs/sft/checkpoint-500", "sft/checkpoint-500"),
        ("/runs/sft/checkpoint-500/model.safetensors", "sft/checkpoint-500"),
        ("/runs/sft/checkpoints/epoch=3-step=400.ckpt", "sft/checkpoints/epoch=3-step=400"),
        ("/runs/sft/step_100", "sft/step_100"),
        ("/runs/sft/epoch=3", "sft/epoch=3"),
        ("/runs/sft/global_step12", "sft/global_step12"),
        ("/runs/sft/iter_0000100", "sft/iter_0000100"),
        ("/runs/sft/500", "sft/500"),
        ("/runs/sft/final", "sft/final"),
        ("/runs/llama-q4.gguf", "llama-q4"),
        ("/runs/sft/pytorch_model.bin", "sft"),
        ("/runs/sft/adapter_model.safetensors", "sft"),
        ("/runs/checkpoint-of-mine", "checkpoint-of-mine"),
        ("/runs/steppe", "steppe"),
        ("/checkpoint-500", "checkpoint-500"),
        ("/runs/v1.5", "v1.5"),
        ("/", "/"),
    ],
)
def test_default_name(path: str, name: str) -> None:
    assert genome.default_name(path) == name


def test_a_folder_with_a_dot_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "sharded.ckpt").mkdir()
    assert genome.default_name(tmp_path / "sharded.ckpt") == "sharded.ckpt"


@settings(max_examples=100)
@given(st.text(alphabet="1-_=.step" + "checkpointx/", min_size=1, max_size=60))
def test_default_name_is_never_empty(path: str) -> None:
    assert genome.default_name("/" + path)


def test_a_file_keeps_when_it_was_modified_to_the_nanosecond(tmp_path: Path) -> None:
    weights = tensors(tmp_path / "model.safetensors")
    os.utime(weights, ns=(0, 1_700_000_000_123_456_789))
    (file,) = genome.read(weights).files
    assert file.modified == 1_700_000_000_123_456_789
    with lineage.open(tmp_path / "registry.db") as registry:
        (kept,) = registry.record(registry.register(weights)).files
    assert kept == file
