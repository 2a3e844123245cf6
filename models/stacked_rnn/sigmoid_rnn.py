"""A stack of recurrent layers with logistic units, run by the native kernels of the tanh RNN."""

# T steps, B lanes, H hidden units, S = layers · directions states, D directions

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from ludocast.models.stacked_rnn.coordinates import tanh_biases, to_sigmoid, to_tanh
from torch import _VF, Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

Coordinates = Literal["sigmoid", "tanh"]
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# Weights of the tanh side that are new in each step of training lie apart; that cuDNN gathers them costs no time that
# could be measured, gathering them here instead was no faster.
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk", module=__name__)
HALF = torch.tensor(0.5, device="cpu")
MINUS_ONE = torch.tensor(-1.0, device="cpu")


class SigmoidRNN(nn.RNNBase):
    """h_t^l = σ(W^l h_t^(l−1) + R^l h_(t−1)^l + b^l), σ the logistic function, with h_t^0 = x_t.

    Signature, parameter names, shapes, packed sequences and states are those of `torch.nn.RNN`; a state that is not
    given is h = 0. Outputs and states are always h, in [0, 1], exact to the precision of a number near 1.

    With `coordinates="sigmoid"` the parameters are those of the equations: `weight_ih_l0` is W, `weight_hh_l0` is R,
    b is the sum of `bias_ih_l0` and `bias_hh_l0`. With "tanh" they are those of the tanh RNN that is the same function
    (see coordinates.py), which trains better since its units are centred; `sigmoid_parameters` tells the equations'.
    Either way they begin as those of `torch.nn.RNN`, U(−1/√H, 1/√H). `bias=False` means that the equations' b is 0,
    in both coordinates, and so the same functions; the biases of the tanh side then follow from its weights.

    In eval mode with gradients disabled the tanh side of "sigmoid" is kept between calls for as long as the parameters
    are the same. As autograd does, that relies on torch's version counters, which edits in place through `.data` or
    numpy evade: call `eval()` after such an edit.

    Args:
        input_size: Numbers a step.
        hidden_size: H.
        num_layers: Layers.
        bias: Whether there is a b.
        batch_first: Whether dense input and output are [B, T, …] rather than [T, B, …].
        dropout: Share of a layer's outputs h set to 0 in training before the next layer reads them, the others scaled
            by 1 / (1 − dropout).
        bidirectional: Whether a second stack reads each layer's input backwards.
        coordinates: What the parameters mean.
        device: Of the parameters.
        dtype: Of the parameters.

    Raises:
        ValueError: If a size, `dropout` or `coordinates` is out of range.
    """

    # What the kept weights were made from and the weights: class-wide, since the base class moves parameters about
    # before its constructor returns.
    _kept: tuple[object, list[Tensor], list[Tensor]] | None = None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        coordinates: Coordinates = "sigmoid",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if coordinates not in ("sigmoid", "tanh"):
            raise ValueError(f'coordinates must be "sigmoid" or "tanh", however: coordinates={coordinates!r}')
        super().__init__(
            "RNN_TANH", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.coordinates: Coordinates = coordinates

    def forward(  # type: ignore[override]
        self, x: Tensor | PackedSequence, state: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Outputs h of the top layer and the last state of all.

        Args:
            x: [T, B, X] ([B, T, X] with `batch_first`), [T, X] for one sequence, or packed sequences.
            state: h before the first step, [S, B, H], or [S, H] for one sequence; None for 0.

        Returns:
            Outputs [T, B, D·H], laid out as x, and the state [S, B, H] or [S, H] after the last step.

        Raises:
            ValueError: If x has another number of dimensions, or not the parameters' dtype.
            RuntimeError: If a size does not fit.
        """
        self._update_flat_weights()
        if isinstance(x, PackedSequence):
            return self._packed(x, state)
        if x.dim() not in (2, 3):
            raise ValueError(f"SigmoidRNN: expected input to be 2-D or 3-D, however: {x.dim()}-D")
        if state is not None and state.dim() != x.dim():
            raise RuntimeError(f"for {x.dim()}-D input the state must be {x.dim()}-D, however: {state.dim()}-D")
        if x.dim() == 3:
            return self._run(x, state, None)
        lane = 0 if self.batch_first else 1
        h, last = self._run(x.unsqueeze(lane), None if state is None else state.unsqueeze(1), None)
        return h.squeeze(lane), last.squeeze(1)

    def _packed(self, x: PackedSequence, state: Tensor | None) -> tuple[PackedSequence, Tensor]:
        if state is not None:
            state = self.permute_hidden(state, x.sorted_indices)
        h, last = self._run(x.data, state, x.batch_sizes)
        packed = PackedSequence(h, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        return packed, self.permute_hidden(last, x.unsorted_indices)

    def _run(self, x: Tensor, state: Tensor | None, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
        if state is None:
            g0_SBH = x.new_full(self.get_expected_hidden_size(x, sizes), -1.0)
        else:
            g0_SBH = torch.add(MINUS_ONE, state, alpha=2)
        self.check_forward_args(x, g0_SBH, sizes)
        weights = self._tanh_weights()
        if self.training and self.dropout > 0 and self.num_layers > 1:
            g, last = self._layer_by_layer(x, g0_SBH, weights, sizes)
        else:
            g, last = self._native(x, g0_SBH, weights, self.num_layers, sizes)
        return _to_h(g), _to_h(last)

    def _native(
        self, x: Tensor, g0_SBH: Tensor, weights: list[Tensor], layers: int, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        options = (True, layers, 0.0, self.training, self.bidirectional)
        # The two calls of torch.nn.RNN.forward.
        out: tuple[Tensor, Tensor]
        if sizes is None:
            out = _VF.rnn_tanh(x, g0_SBH, weights, *options, self.batch_first)
        else:
            out = _VF.rnn_tanh(x, sizes, g0_SBH, weights, *options)
        return out

    def _layer_by_layer(
        self, x: Tensor, g0_SBH: Tensor, weights: list[Tensor], sizes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `_native` with dropout between layers on h: g = 2h − 1 becomes 2·dropout(h) − 1 = dropout(g + 1) − 1."""
        D, lasts = 2 if self.bidirectional else 1, []
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x + 1, self.dropout) - 1
            own = slice(layer * D, (layer + 1) * D)
            x, last = self._native(x, g0_SBH[own], weights[4 * own.start : 4 * own.stop], 1, sizes)
            lasts.append(last)
        return x, torch.cat(lasts)

    def _tanh_weights(self) -> list[Tensor]:
        """All weights of the tanh side in the order of the kernels."""
        flat: list[Any] = self._flat_weights
        if self.coordinates == "tanh" and self.bias:
            return flat
        if self.training or torch.is_grad_enabled() or not _tracked(flat):
            if self._kept is not None:  # setting a module's attribute is not free
                self._kept = None
            return self._transformed()
        key = [(p._version, p.data_ptr(), p.stride(), p.device, p.dtype) for p in flat]
        kept = self._kept
        if kept is None or kept[0] != key:
            # The sources' memory is held on to, so that no other parameter can come to lie at the same address.
            kept = self._kept = (key, [p.detach() for p in flat], self._in_one_chunk(self._transformed()))
        return kept[2]

    def _transformed(self) -> list[Tensor]:
        flat: list[Any] = self._flat_weights
        found: list[Tensor] = []
        for _, own, upper in self._layers():
            if self.coordinates == "sigmoid":
                found += to_tanh(flat[own], upper)
            else:  # without b
                W_HX, R_HH = flat[own]
                found += [W_HX, R_HH, *tanh_biases(W_HX, R_HH, (), upper)]
        return found

    def _in_one_chunk(self, weights: list[Tensor]) -> list[Tensor]:
        """On CUDA the weights as cuDNN wants them, which else would copy them at each call."""
        return flattened(self, weights) if weights[0].is_cuda else weights

    def _layers(self) -> Iterator[tuple[str, slice, bool]]:
        """For each layer and direction: the ending of its names, its parameters' places, whether it is an upper one."""
        endings = ("", "_reverse") if self.bidirectional else ("",)
        count = 4 if self.bias else 2
        for i in range(self.num_layers * len(endings)):
            layer, direction = divmod(i, len(endings))
            yield f"_l{layer}{endings[direction]}", slice(count * i, count * (i + 1)), layer > 0

    def sigmoid_parameters(self) -> dict[str, Tensor]:
        """W, R and both parts of b of the equations under the names of the parameters, copies.

        They are in float64 on the CPU, so that what `load_sigmoid_parameters` makes of them is what they came from.
        """
        found: dict[str, Tensor] = {}
        for ending, own, upper in self._layers():
            weights = [p.detach().to("cpu", torch.float64, copy=True) for p in self._flat()[own]]
            named = weights if self.coordinates == "sigmoid" else to_sigmoid(weights, upper)
            found |= {part + ending: tensor for part, tensor in zip(PARTS, named, strict=False)}
        return found

    def tanh_parameters(self) -> dict[str, Tensor]:
        """The weights of the tanh RNN that is the same function in g = 2h − 1, biases always among them, copies."""
        self._update_flat_weights()
        with torch.no_grad():
            weights = self._tanh_weights()
        names = [part + ending for ending, _, _ in self._layers() for part in PARTS]
        return {name: tensor.detach().clone() for name, tensor in zip(names, weights, strict=True)}

    def load_sigmoid_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Set all parameters from those of the equations, named and shaped as `sigmoid_parameters` has them.

        Raises:
            ValueError: If a name is missing or unknown, or a shape does not fit; then nothing is changed.
        """
        own_shapes = {name: tuple(p.shape) for name, p in zip(self._flat_weights_names, self._flat(), strict=True)}
        given = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
        wrong = sorted(name for name in own_shapes | given if own_shapes.get(name) != given.get(name))
        if wrong:
            told = "; ".join(f"{n}: wanted {own_shapes.get(n, 'none')}, came {given.get(n, 'none')}" for n in wrong)
            raise ValueError(f"the parameters' names and shapes must be this module's, however: {told}")
        for _, own, upper in self._layers():
            weights = [parameters[name].detach().to("cpu", torch.float64) for name in self._flat_weights_names[own]]
            with torch.no_grad():
                made = weights if self.coordinates == "sigmoid" else to_tanh(weights, upper)
                for p, tensor in zip(self._flat()[own], made, strict=False):
                    p.copy_(tensor)

    def _flat(self) -> list[Any]:
        self._update_flat_weights()
        return self._flat_weights

    def extra_repr(self) -> str:
        """The sizes, as torch's modules print them."""
        return f"{super().extra_repr()}, coordinates={self.coordinates}"

    def train(self, mode: bool = True) -> SigmoidRNN:
        """As of any module; whatever was kept is forgotten."""
        self._kept = None
        super().train(mode)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> SigmoidRNN:
        self._kept = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_kept": None}  # type: ignore[no-untyped-call]


def _to_h(g: Tensor) -> Tensor:
    """½ + ½ g, on the CPU in g's own memory, since fresh memory costs more than the arithmetic.

    There the kernels' backward pass does not read their output; cuDNN's does.
    """
    return g.lerp_(g.new_ones(()), 0.5) if g.device.type == "cpu" else torch.add(HALF, g, alpha=0.5)


def _tracked(weights: list[Any]) -> bool:
    """Whether torch counts the versions of all: not of inference tensors, nor where a transform put its own."""
    return not torch.compiler.is_compiling() and all(type(p) is nn.Parameter and not p.is_inference() for p in weights)


def flattened(rnn: nn.RNNBase, weights: list[Tensor]) -> list[Tensor]:
    """Copies of weights as `torch.nn.RNN` lays its own out: on CUDA in one chunk of memory.

    Args:
        rnn: A module of that size.
        weights: Of its tanh side, biases among them.
    """
    sizes = (rnn.input_size, rnn.hidden_size, rnn.num_layers)
    # By way of the meta device, so that no random numbers are drawn.
    holder = nn.RNN(*sizes, bidirectional=rnn.bidirectional, device="meta", dtype=weights[0].dtype)
    holder.to_empty(device=weights[0].device)
    places: list[Any] = holder._flat_weights
    with torch.no_grad():
        for place, tensor in zip(places, weights, strict=True):
            place.copy_(tensor)
    return [place.detach() for place in places]
