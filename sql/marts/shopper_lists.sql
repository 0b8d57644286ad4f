-- Lists of one shopper's own, as of :ds, best item first; grain: (ds, list, user_id, rank).
-- buy_again: what the shopper bought, the likeliest to be bought again first. recently_viewed: what was viewed, clicked
-- or put into the cart in the last 30 days and is not bought, the latest first. Without the pairs that rules withhold.
--
-- The score of buy_again is a product of four (docs/adr/0015-buy-again-by-days-pull-and-rest.md):
--   the days on which the shopper bought the item;
--   pull: the fourth root of (share of its buyers who came back for it) x (buyers of 30 days)^2 / (buyers ever);
--   fading: a half when the last purchase is 200 days ago;
--   rest: just after a purchase a half, less where the shopper's own gaps are regular; 1 once a mean gap has passed.
-- The mean gap is that of the shopper's own gaps and, once, of everybody's, 30 days where nobody came back yet. The
-- list is read on the day after :ds. The share who came back counts five more buyers, who are like the shop's. What
-- fewer than one in 50 came back for is left out, unless the shopper did: of what nobody buys twice there is no list.
-- The score of recently_viewed is 1 / (1 + days since). Ties go by the last event, then by item_id.
--
-- Params: :ds           DATE  the day
--         :list_length  INT   most items of a list
-- Reads:  item, user_item, withheld
WITH
shop AS (
  SELECT SUM(repeat_purchaser_count) / GREATEST(SUM(purchaser_count_total), 1L) AS returning_share
  FROM item
  WHERE ds = :ds
),
buyers AS (
  SELECT
    item.item_id,
    COALESCE(item.mean_gap_days, 30.0D)                                                         AS mean_gap_days,
    item.purchaser_count_30d + 0.5D                                                             AS buyers_30d,
    item.purchaser_count_total + 1.0D                                                           AS buyers,
    (item.repeat_purchaser_count + 5 * shop.returning_share) / (item.purchaser_count_total + 5) AS returning_share
  FROM item
  CROSS JOIN shop
  WHERE item.ds = :ds
),
bought AS (
  SELECT
    pair.user_id,
    pair.item_id,
    pair.last_event_ts,
    pair.purchase_day_count                                          AS days,
    SQRT(item.buyers_30d * SQRT(item.returning_share / item.buyers)) AS pull,
    200.0D / (200 + pair.days_since_last_purchase)                   AS fading,
    GREATEST(
      0.0D,
      1 - (pair.days_since_last_purchase + 1) * pair.purchase_day_count
      / (COALESCE(pair.mean_gap_days, 0.0D) * (pair.purchase_day_count - 1) + item.mean_gap_days)
    )                                                                AS early,
    IF(
      pair.purchase_day_count > 2,
      GREATEST(0.0D, 1 - pair.gap_sd_days / pair.mean_gap_days) * (1 - 1 / (pair.purchase_day_count - 1)),
      0.0D
    )                                                                AS regularity
  FROM user_item AS pair
  JOIN buyers AS item ON item.item_id = pair.item_id
  WHERE pair.ds = :ds
    AND pair.purchase_day_count > 0
    AND (pair.purchase_day_count > 1 OR item.returning_share >= 0.02D)
),
places AS (
  SELECT
    'buy_again'                                                       AS list,
    user_id,
    item_id,
    last_event_ts,
    days * pull * fading * (1 - early * early * (1 + regularity) / 2) AS score
  FROM bought
  UNION ALL
  SELECT 'recently_viewed', user_id, item_id, last_event_ts, 1.0D / (1 + days_since_last_event)
  FROM user_item
  WHERE ds = :ds AND purchase_count = 0 AND view_count + cart_count > 0 AND days_since_last_event < 30
),
ranked AS (
  SELECT
    list,
    user_id,
    CAST(ROW_NUMBER() OVER (
      PARTITION BY list, user_id
      ORDER BY score DESC, last_event_ts DESC, item_id ASC
    ) AS INT) AS rank,
    item_id,
    score
  FROM places
  LEFT ANTI JOIN withheld USING (user_id, item_id)
)
SELECT list, user_id, rank, item_id, score
FROM ranked
WHERE rank <= :list_length
