"""The description of a transformer: `Transformer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from vgcore import _core
from vgcore.model.kind import Activation, Init, Norm
from vgcore.model.mlp import Field, InitField
from vgcore.model.spec import Spec, check_fields, documented, in_order

#: The fields that a transformer need not name, as the core has them.
DEFAULTS = _core.Spec.of_blocks({}).fields()


@dataclass(frozen=True, repr=False)
class Transformer(Spec):
    """A transformer: blocks of attention among the tokens of a sample, and of two maps for each token.

    Frozen, hashable, picklable; two specs are equal if their fields are. Samples are `(batch, tokens, in_features)`, or
    flat, `(batch, tokens * in_features)`. The output is flat, `(batch, tokens * out)`, or pooled, `(batch, out)`.

    A block is attention, `W_O concat(softmax(scale q k^T) v)` head by head with `q, k, v = W_QKV h` (Vaswani et al.
    2017, arXiv:1706.03762), then `W_2 phi(W_1 h)`, each as a branch of a residual stream. A probe has four rows a
    block, one a map: `self_attn.in_proj`, `self_attn.out_proj`, `linear1` and `linear2`; and a first one for the
    `embedding`, a map that is there where in_features differs from width. Names of parameters are those of torch's
    `TransformerEncoder`.

    Args:
        depth: Blocks.
        width: Features of the stream.
        heads: Heads of attention, which share the width evenly.
        tokens: Tokens of a sample.
        in_features: Features of a token that comes in; the width if None.
        out_features: Units of the readout; no readout if None.
        pool: What becomes of the tokens behind the last block: None (each has an output), `"mean"` or `"last"`.
        ffn: Features of `W_1 h`, in widths.
        activation: Between the two maps of a token: name, call or `Activation`.
        norm: `"layer"`, `"rms"`, `"batch"` or None: the normalisation of each half of a block.
        norm_position: `"pre"`, before the first map of each half (Xiong et al. 2020, arXiv:2002.04745), or `"post"`,
            behind each sum.
        skip: `"residual"`, x + F; None, F alone; `"rezero"`, x + alpha F with a learned number that starts at 0;
            `"deepnorm"`, (2 depth)^(1/4) x + F before the norm (Wang et al. 2022, arXiv:2203.00555), best with
            `init="deepnorm"`.
        causal: Whether a token sees none behind it.
        qk_norm: Whether queries and keys are divided by their root mean square over the features of a head,
            `sqrt(mean(q^2) + 1e-6)`, with nothing learned (as in Henry et al. 2020, arXiv:2010.04245, but for the
            learned scale).
        final_norm: Behind the last block; `"auto"` is that of `norm` with `norm_position="pre"`, and none with
            `"post"`.
        scale: `"standard"`, logits are q k^T / sqrt(features of a head); `"mup"`, over these features themselves (Yang
            et al. 2022, arXiv:2203.03466).
        init: Name, call or `Init`, of all weights; queries, keys and values are drawn as three matrices. See also
            `"torch_transformer"`, `"torch_encoder"`, `"gpt2"` and `"deepnorm"`.
        bias: As in `MLP`: None for what the init brings, False for none, or an init.

    Raises:
        ValueError: For a value that is not allowed, heads that do not divide the width, deepnorm without norms behind
            the sums.
        TypeError: For a value of the wrong type.

    >>> net = Transformer(depth=2, width=16, tokens=8, in_features=5, out_features=3, pool="mean")
    >>> net.depth, net.sizes
    (2, '8 x 5 -> 16 (2 blocks) -> 3')
    >>> Transformer.from_json(net.to_json()) == net
    True
    """

    depth: int
    width: int
    _: dataclasses.KW_ONLY
    heads: int = DEFAULTS["heads"]
    tokens: int = DEFAULTS["tokens"]
    in_features: int | None = DEFAULTS["in_features"]
    out_features: int | None = DEFAULTS["out_features"]
    pool: Literal["mean", "last"] | None = DEFAULTS["pool"]
    ffn: int = DEFAULTS["ffn"]
    activation: Field[str | Activation, Activation] = Field(Activation, DEFAULTS["activation"])  # noqa: RUF009 (a descriptor)
    norm: Field[str | Norm | None, Norm | None] = Field(Norm, DEFAULTS["norm"])  # noqa: RUF009
    norm_position: Literal["pre", "post"] = DEFAULTS["norm_position"]
    skip: Literal["residual", "rezero", "deepnorm"] | None = DEFAULTS["skip"]
    causal: bool = DEFAULTS["causal"]
    qk_norm: bool = DEFAULTS["qk_norm"]
    final_norm: Any = DEFAULTS["final_norm"]
    scale: Literal["standard", "mup"] = DEFAULTS["scale"]
    init: InitField = InitField(Init, DEFAULTS["init"])  # noqa: RUF009
    bias: Field[str | Init | bool | None, Init | bool | None] = Field(Init, DEFAULTS["bias"])  # noqa: RUF009

    def __post_init__(self) -> None:
        given = self.__dict__
        checked = _core.Spec.of_blocks({name: given[name] for name in FIELDS})
        given |= checked.fields()
        for name, field in KINDS.items():
            if given[name] is not None:
                given[name] = field.checked(given[name])
        if given["final_norm"] not in {None, "auto"}:
            given["final_norm"] = Norm.of_field(given["final_norm"])
        given["_checked"] = checked

    def replace(self, **changes: Any) -> Transformer:
        """A copy with some fields changed, checked again."""
        check_fields(changes, FIELDS)
        return dataclasses.replace(self, **changes)

    @staticmethod
    def from_json(text: str) -> Transformer:
        """The spec that `to_json` wrote.

        Raises:
            ValueError: For what is no JSON, of a format that this version does not know, or has unknown fields.
        """
        fields, known = documented(text, "Transformer")
        if missing := [name for name in ("depth", "width") if name not in fields]:
            raise ValueError(f"a transformer needs {' and '.join(missing)}")
        check_fields(fields, FIELDS)
        spec = Transformer(**fields)
        del known  # which the spec keeps from here on
        return spec

    @property
    def sizes(self) -> str:
        """Tokens and features of the input, width and blocks, and units of the readout in order.

        >>> Transformer(depth=1, width=16, tokens=4).sizes
        '4 x 16 -> 16 (1 block), no readout'
        """
        inputs = self.width if self.in_features is None else self.in_features
        blocks = f"{self.width} ({self.depth} block{'s' if self.depth > 1 else ''})"
        return f"{self.tokens} x {in_order(inputs, [blocks], self.out_features)}"

    def _texts(self) -> Iterable[str]:
        return (str(self.activation),)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in FIELDS))


FIELDS = tuple(field.name for field in dataclasses.fields(Transformer))
#: The fields that hold kinds.
KINDS: dict[str, Field[Any, Any]] = {
    name: field for name, field in vars(Transformer).items() if isinstance(field, Field)
}
