"""Find which items stand for another one: like it by their words, or looked at together and bought one at a time.

A substitute of what is in a basket is never offered beside it, and on the page of a product its substitutes are its
alternatives. docs/adr/0012-bought-together-is-a-walk-over-baskets.md tells what that costs.

>>> words = tf_idf([words_of(*columns, None) for columns in zip(title, category, brand)])
>>> like = like_by_words(words, price_minor, content_indptr, content_indices)
>>> substitutes = like + looked_at_instead(visit, item, is_bought, n_items)
"""

import numpy as np
import scipy.sparse as sp

from jobs.numeric.arrays import Flags, Integers, Positions, Values, Whole, row_blocks
from jobs.numeric.list_metrics import marked

SAME_WORDS, SAME_PRICE = 0.4, 1.05
"""Products whose words have this cosine or more, at prices of this ratio or less, are one thing in another colour."""
SAME_ITEM = 0.7
"""The cosine where a price is not known."""
LARGEST_VISIT = 100
"""A visit that looked at more items compared no two of them."""
LEAST_EXPECTED = 5.0
"""Purchases that must be expected before their absence says something."""
BOUGHT_INSTEAD = 0.25
"""Alternatives are bought together at most so many times as often as expected."""
PAIRS_A_BLOCK = 1 << 21


def like_by_words(words: sp.csr_matrix, price_minor: Whole, indptr: Whole, indices: Integers) -> sp.csr_matrix:
    """Return [n_items, n_items]: the cosine of two items that share most words at one price, above 0; symmetric.

    Cups of two colours share words and price. A cup and its saucer share words alone. Where a price is not known, the
    words must be all but the same.

    Args:
        words: [n_items, n_words], rows of unit length: `jobs.models.content.tf_idf` of words without prices.
        price_minor: [n_items], 0 or less where it is not known.
        indptr: with `indices`, the CSR of each item's nearest neighbours (`artifacts/content`): those compared.
        indices: see `indptr`.
    """
    item, other = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), indices.astype(np.int64)
    cosine = np.zeros(len(item))
    for pairs in row_blocks(np.ones(len(item), np.int64), PAIRS_A_BLOCK):
        cosine[pairs] = np.asarray(words[item[pairs]].multiply(words[other[pairs]]).sum(axis=1)).ravel()
    low, high = np.minimum(price_minor[item], price_minor[other]), np.maximum(price_minor[item], price_minor[other])
    one_price = (low > 0) & (high <= SAME_PRICE * low)
    is_like = (one_price & (cosine >= SAME_WORDS)) | ((low <= 0) & (cosine >= SAME_ITEM))
    return _both_ways(item[is_like], other[is_like], cosine[is_like], words.shape[0])


def looked_at_instead(visit: Integers, item: Integers, is_bought: Flags, n_items: int) -> sp.csr_matrix:
    """Return [n_items, n_items]: 1 where shoppers look at two items and buy one of them; symmetric.

    Of the visits that bought an item and looked at another one, the other is bought as well as often as beside any
    item that is bought, were there nothing between the two. Where LEAST_EXPECTED such purchases are due and at most
    BOUGHT_INSTEAD of them happen, one stands for the other. (What is viewed together is a substitute, what is bought
    together a complement: McAuley, Pandey and Leskovec 2015.)

    Args:
        visit: [rows] whole numbers, one for each session, or shopper and day.
        item: [rows] positions in the catalogue; any event is a look.
        is_bought: [rows] whether the event is a purchase.
        n_items: of the catalogue.
    """
    visits, row = np.unique(visit, return_inverse=True)
    looked = _incidence(row, item, (len(visits), n_items))
    is_kept = is_bought & (np.diff(looked.indptr) <= LARGEST_VISIT)[row]
    bought = _incidence(row[is_kept], item[is_kept], looked.shape)
    buys = np.diff(bought.indptr)
    # Visits are counted once for each other item that they bought.
    looks_beside = looked.T @ buys - np.bincount(bought.indices, minlength=n_items)
    share_bought = (bought.T @ np.maximum(buys - 1, 0)) / np.maximum(looks_beside, 1)
    buyers = bought.T.tocsr()
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for block in row_blocks(buyers @ np.diff(looked.indptr), PAIRS_A_BLOCK):
        together = buyers[block] @ looked
        due = (together @ sp.diags(share_bought)).tocoo()
        is_told = (due.data >= LEAST_EXPECTED) & (due.row + block.start != due.col)
        one, other, expected = due.row[is_told], due.col[is_told], due.data[is_told]
        both = np.asarray((buyers[block] @ bought)[one, other]).ravel()
        is_instead = both <= BOUGHT_INSTEAD * expected
        found.append((one[is_instead] + block.start, other[is_instead]))
    one, other = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return _both_ways(one, other, np.ones(len(one)), n_items)


def _incidence(row: Integers, item: Integers, shape: tuple[int, int]) -> sp.csr_matrix:
    return marked(sp.csr_matrix((np.ones(len(row)), (row, item)), shape=shape))


def _both_ways(one: Positions, other: Positions, score: Values, n_items: int) -> sp.csr_matrix:
    found = sp.csr_matrix((score, (one, other)), shape=(n_items, n_items))
    return sp.csr_matrix(found.maximum(found.T))
