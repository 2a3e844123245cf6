"""A layer's weights in the coordinates of h = σ(…) and in those of g = tanh(…), where h = ½ + ½ g."""

# H hidden units, X inputs of a layer
#
# σ(a) = ½ + ½ tanh(a/2), so that h_t = σ(W x_t + R h_(t−1) + b) is the same function as
#   g_t = tanh(½ W x_t + ¼ R g_(t−1) + ½ b + ¼ R·1),       h_t = ½ + ½ g_t,
# and where x_t is itself the h = ½ + ½ g of a layer below, ½ W x_t = ¼ W g_t + ¼ W·1. torch keeps b in two parts: what
# comes of W goes to that of the input, what comes of R to that of the recurrence. Without b the tanh side has biases
# all the same: ¼ W·1 and ¼ R·1, which are the row sums of its own weights.

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

RECURRENT = 0.25


def _input_factor(upper: bool) -> float:
    return 0.25 if upper else 0.5


def to_tanh(weights: Sequence[Tensor], upper: bool) -> list[Tensor]:
    """A layer's weights of the equations for g.

    Args:
        weights: W [H, X], R [H, H] and, unless they are 0, the bias's two parts [H] of the equations for h.
        upper: Whether its input is the h of a layer below.

    Returns:
        The same on the tanh side, biases always among them.
    """
    W_HX, R_HH, *parts = weights
    W_HX, R_HH = W_HX * _input_factor(upper), R_HH * RECURRENT
    return [W_HX, R_HH, *tanh_biases(W_HX, R_HH, parts, upper)]


def tanh_biases(W_HX: Tensor, R_HH: Tensor, parts: Sequence[Tensor], upper: bool) -> list[Tensor]:
    """Both parts of g's bias.

    Args:
        W_HX: Input weights of the tanh side.
        R_HH: Recurrent weights of the tanh side.
        parts: Both parts of h's bias, [H] each; none where it is 0.
        upper: Whether the layer's input is the h of a layer below.
    """
    from_h_H = R_HH.sum(1)
    if not parts:
        return [W_HX.sum(1) if upper else R_HH.new_zeros(len(R_HH)), from_h_H]
    from_x_H, from_h_H = parts[0] * 0.5, from_h_H.add(parts[1], alpha=0.5)
    return [from_x_H + W_HX.sum(1) if upper else from_x_H, from_h_H]


def to_sigmoid(weights: Sequence[Tensor], upper: bool) -> list[Tensor]:
    """The inverse of `to_tanh`; weights without biases are those of equations whose bias is 0."""
    W_HX, R_HH, *parts = weights
    sums = (W_HX.sum(1) if upper else 0.0, R_HH.sum(1))
    biases = [2 * (part_H - sum_H) for part_H, sum_H in zip(parts, sums, strict=False)]
    return [W_HX / _input_factor(upper), R_HH / RECURRENT, *biases]
