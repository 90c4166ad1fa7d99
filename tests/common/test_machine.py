"""Number formats: scores in float32 on every machine, bfloat16 in training where the processor computes with it."""

import pytest
import torch

from scripts.common.errors import ConfigError
from scripts.common.machine import choose_device, choose_precision, in_float32, in_training

CPU = torch.device("cpu")


@pytest.fixture
def hasty() -> None:
    """Everything that makes torch compute with less than float32 is switched on, as a notebook's user may have it."""
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("within", [lambda: in_float32(CPU), lambda: in_training(CPU, torch.float32)])
def test_float32_is_neither_bfloat16_nor_tf32(hasty, within):
    a, b = torch.randn(64, 512), torch.randn(512, 64)
    with torch.autocast("cpu", torch.bfloat16), within():
        product = a @ b
    assert product.dtype == torch.float32
    torch.testing.assert_close(product.double(), a.double() @ b.double(), atol=1e-4, rtol=0)
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


def test_training_computes_in_the_format_asked_for():
    with in_training(CPU, choose_precision("bfloat16", CPU)):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("isa", [None, "ALL", "AVX512_CORE_BF16", "AVX512_CORE_AMX", "AVX2", "SSE41", "avx512_core"])
@pytest.mark.parametrize("bf16", [True, False])
def test_auto_is_bfloat16_where_the_processor_has_it_and_may_use_it(monkeypatch, isa, bf16):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    if isa:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    may = isa in (None, "ALL", "AVX512_CORE_BF16", "AVX512_CORE_AMX")
    assert choose_precision("auto", CPU) == (torch.bfloat16 if bf16 and may else torch.float32)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_subnormal_weights_are_zeros_to_a_network(precision):
    """And to nothing else: around a network they are numbers."""
    tiny = torch.full((64,), 1e-40)
    with in_training(CPU, precision):
        with in_float32(CPU):
            assert (tiny * 2).abs().max() == 0
        assert (tiny * 2).abs().max() == 0
    assert (tiny * 2).abs().max() > 0


def test_gpus_have_numbers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1) and choose_device("auto") == torch.device("cuda")
    for name in ("cuda:2", "cuda:", "cuda:x"):
        with pytest.raises(ConfigError, match=f"device '{name}' is not available here; choose --set device=auto"):
            choose_device(name)
    with pytest.raises(ConfigError, match="unknown device 'cpu:1'; did you mean 'cpu'"):
        choose_device("cpu:1")
