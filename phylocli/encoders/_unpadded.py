"""The layers of ESM, BERT and T5 on unpadded sequences: the modules of transformers, evaluated in flat form.

The modules, their weights and the order of operations are those of transformers. What differs is the layout: all but the
attention is computed on tokens without padding (`Layout`), attention is one fused call for each length of a batch, and T5's
relative positions are a view of one vector of distances instead of a (heads, L, L) array, so that memory is linear in the
length. Where padding is kept (on a GPU, and when compiling), attention is one fused call with a mask.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.encoders.base.activation_checkpointing import checkpointed
from phylocli.encoders.base.batch import Layout

Block = Callable[..., tuple[Tensor, Any]]


class Rows:
    """The sequences of a batch: which of its tokens exist, and runs of sequences of one length."""

    def __init__(self, present: Tensor) -> None:
        self.present = present
        self.layout = Layout(present)
        self.runs: list[tuple[int, int]] | None = None
        if self.layout.rows is not None:
            self.runs = [(len(list(run)), length) for length, run in groupby(present.sum(1).tolist())]


def attention(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float, dropout: float, distances: Tensor | None = None
) -> Tensor:
    """Return softmax(scale · Q Kᵀ + bias) V for every sequence, (T, heads · features).

    Args:
        query, key, value: (T, heads, features), of the tokens in flat form.
        rows: of the batch.
        scale: of the scores.
        dropout: fraction of attention weights zeroed.
        distances: bias by distance, (heads, 2 W - 1): of a key W - 1 positions before its query … W - 1 after it.
    """
    if rows.runs is None:
        return _padded_attention(query, key, value, rows, scale, dropout, distances)
    found = []
    at = 0
    for count, length in rows.runs:
        stop = at + count * length
        q, k, v = (x[at:stop].view(count, length, *x.shape[1:]).transpose(1, 2) for x in (query, key, value))
        at = stop
        if distances is None:
            out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
        else:
            # Row i of the bias is a slice of the distances that moves back by one with i: with the queries in reverse order
            # the whole is a view. No (heads, L, L) array is allocated, because torch's fused kernel reads it as it is; with
            # a mask of three dimensions torch would take another kernel, which allocates one.
            width = (distances.shape[1] + 1) // 2
            bias = distances[:, width - length : width + length - 1].unfold(1, length, 1)
            flipped = F.scaled_dot_product_attention(q.flip(2), k, v, attn_mask=bias[None], dropout_p=dropout, scale=scale)
            out = flipped.flip(2)
        found.append(out.transpose(1, 2).reshape(count * length, -1))
    return torch.cat(found)


def _padded_attention(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, scale: float, dropout: float, distances: Tensor | None
) -> Tensor:
    n, width = rows.present.shape
    q, k, v = (x.view(n, width, *x.shape[1:]).transpose(1, 2) for x in (query, key, value))
    mask = rows.present[:, None, None, :]
    if distances is not None:
        bias = distances.unfold(1, width, 1).flip(1)
        mask = torch.where(mask, bias, torch.finfo(bias.dtype).min)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return out.transpose(1, 2).reshape(n * width, -1)


def _heads(x: Tensor, features: int) -> Tensor:
    return x.view(len(x), -1, features)


def _projected(own: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values, (T, heads, features), by the attention module of ESM or BERT."""
    query, key, value = (_heads(layer(x), own.attention_head_size) for layer in (own.query, own.key, own.value))
    return query, key, value


def _esm_block(block: Any, x: Tensor, rotation: tuple[Tensor, Tensor] | None, rows: Rows) -> tuple[Tensor, Any]:
    own = block.attention.self
    query, key, value = _projected(own, block.attention.LayerNorm(x))
    query = query * own.attention_head_size**-0.5
    if rotation is not None:
        query, key = _rotated(query, *rotation), _rotated(key, *rotation)
    dropout = own.dropout if block.training else 0.0
    x = block.attention.output(attention(query, key, value, rows, 1.0, dropout), x)
    hidden = F.gelu(block.intermediate.dense(block.LayerNorm(x)))
    return block.output(hidden, x), rotation


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Return x (T, heads, features) with the two halves of its features rotated as pairs; angles (T, 1, features / 2)."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x.dtype)


def _bert_block(block: Any, x: Tensor, nothing: None, rows: Rows) -> tuple[Tensor, Any]:
    own = block.attention.self
    query, key, value = _projected(own, x)
    dropout = own.dropout.p if block.training else 0.0
    x = block.attention.output(attention(query, key, value, rows, own.attention_head_size**-0.5, dropout), x)
    return block.output(block.intermediate(x), x), nothing


def _t5_block(block: Any, x: Tensor, distances: Tensor | None, rows: Rows) -> tuple[Tensor, Any]:
    first = block.layer[0]
    own = first.SelfAttention
    if distances is None:  # the first block has the table for all
        width = rows.present.shape[1]
        buckets = own._relative_position_bucket(
            torch.arange(1 - width, width, device=x.device),
            bidirectional=True,
            num_buckets=own.relative_attention_num_buckets,
            max_distance=own.relative_attention_max_distance,
        )
        distances = own.relative_attention_bias(buckets).t()
    hidden = first.layer_norm(x)
    query, key, value = (_heads(layer(hidden), own.key_value_proj_dim) for layer in (own.q, own.k, own.v))
    dropout = own.dropout if block.training else 0.0
    bias = distances.to(query.dtype)
    x = x + first.dropout(own.o(attention(query, key, value, rows, 1.0, dropout, bias)))
    return block.layer[-1](x), distances


_BLOCKS: dict[str, Block] = {"esm": _esm_block, "bert": _bert_block, "t5": _t5_block}

ARCHITECTURES = tuple(_BLOCKS)


def prepare(backbone: Any) -> nn.ModuleList:
    """Make the blocks of a backbone work on flat tokens; return them.

    They stay modules that are called, so that hooks (sharding) see each of them.
    """
    kind = backbone.config.model_type
    blocks: nn.ModuleList = backbone.encoder.block if kind == "t5" else backbone.encoder.layer
    for block in blocks:
        block.forward = functools.partial(_BLOCKS[kind], block)
    return blocks


def forward(
    backbone: Any, blocks: nn.ModuleList, words: Tensor, present: Tensor, layer: int, *, recompute: bool = False
) -> Tensor:
    """Return the residual stream after `layer` blocks, (N, W, D), after all of them as the backbone returns it (normalised).

    Args:
        backbone, blocks: as prepared.
        words: the checkpoint's tokens, (N, W) int64.
        present: (N, W) bool, False on padding, which is on the right.
        layer: number of blocks.
        recompute: activation checkpointing, block by block.
    """
    kind = backbone.config.model_type
    rows = Rows(present)
    shared: Any = None
    if kind == "t5":
        x = backbone.encoder.dropout(backbone.encoder.embed_tokens(words))
    elif kind == "esm":
        x = backbone.embeddings(input_ids=words, attention_mask=present.long())
        if backbone.rotary_embeddings is not None:
            cosine, sine = backbone.rotary_embeddings(x.float(), rows.layout.position[None])
            half = cosine.shape[-1] // 2
            shared = cosine[0, :, None, :half], sine[0, :, None, :half]
    else:
        x = backbone.embeddings(input_ids=words)
    x = rows.layout.flatten(x)
    for block in list(blocks)[:layer]:
        x, shared = checkpointed(block, x, shared, rows, enabled=recompute)
    if layer == len(blocks):
        if kind == "esm" and backbone.encoder.emb_layer_norm_after:
            x = backbone.encoder.emb_layer_norm_after(x)
        elif kind == "t5":
            x = backbone.encoder.dropout(backbone.encoder.final_layer_norm(x))
    return rows.layout.unflatten(x)
