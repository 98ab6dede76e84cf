"""What a comparison found: tables of numbers, and the words that they allow."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from ..markup import as_html
from .tables import Tables
from .words import markdown, sections


class Comparison(Tables):
    """Two or more models on the same images. Lengths are in the units of the images.

    Every interval has columns NAME, NAME_low and NAME_high.

    Attributes:
        names: Of the models.
        confidence: Of all intervals; 1 - confidence is the level of the tests.
        pairs: One row for each norm, estimator and pair of models `a` and `b`. `verdict` is "more
            robust", "no difference found" or "cannot tell", `more_robust` a name or "", `reasons`
            and `cautions` lists of sentences. `n` images have scores of all models,
            `n_labelled` of them a label, `n_both_right` of them count in all that follows: the
            intervals `mean_a`, `mean_b`, `difference` (of the means, a - b), `ratio` (of the
            means, a / b), `median_a`,
            `median_b`, `median_difference` and `median_ratio` (of each image's), `share_a_higher`,
            `share_b_higher`, `p_value` (Wilcoxon), `rank_correlation`, `kendall_tau`, `detectable`
            (the smallest difference that would have been found 4 times in 5), `p_holm`.
            `all_difference` is over all n images, with a score of 0 where a model is wrong. Of
            brackets all these are of the lower ends, the same names after `upper_` of the upper
            ends, on the `upper_n` images of which both flips are known, and "more robust" goes on
            "from both sides", "by the attack alone" or "by the estimate alone".
        models: One row for each norm, estimator and model, over the n images: `accuracy`, `mean`
            (0 where it is wrong), `mean_where_right`, `median_where_right` and, as shares of the
            images where it is right, `capped`, `fallback`, `masked`, `contradicted`, `flipped`; of
            brackets also `upper_mean`, `upper_mean_where_right` and `upper_median_where_right`, of
            the images with a flip, and `no_flip`, the share without.
        by_class: One row for each row of `pairs` and true class; of brackets with `upper_mean_a`,
            `upper_mean_b`, `upper_p_value` and `upper_p_holm`.
        moved: For each row of `pairs` the images whose scores differ most; of brackets with
            `upper_a` and `upper_b`.
        dropped: Images that were left out, and why: `image_id`, `model`, `norm`, `estimator`,
            `reason`.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON takes it: tables as lists of rows, norms as text, NaN as None.

        >>> import clever_ext as cx, json, torch
        >>> images = torch.rand(3, 4)
        >>> runs = [
        ...     cx.clever_score(torch.nn.Linear(4, 2).eval(), images, n_batches=4) for _ in range(2)
        ... ]
        >>> json.loads(json.dumps(cx.compare(*runs).to_dict()))["pairs"][0]["norm"]
        '2'
        """
        return {f.name: _in_json(getattr(self, f.name)) for f in fields(self)}

    def markdown(self) -> str:
        """Return verdicts and numbers as Markdown."""
        return markdown(sections(self))

    def __repr__(self) -> str:
        return self.markdown()

    def _repr_html_(self) -> str:
        """Return the same as tables, as notebooks show them."""
        parts = sections(self)
        return "\n".join(as_html(x.title, x.lines, x.head, x.rows) for x in parts)


def _in_json(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        rows = value.astype(object).where(value.notna(), None).to_dict("records")
        return [
            {name: f"{cell:g}" if name == "norm" else _in_json(cell) for name, cell in row.items()}
            for row in rows
        ]
    if isinstance(value, (list, tuple)):
        return [_in_json(each) for each in value]
    return f"{value:g}" if isinstance(value, float) and math.isinf(value) else value
