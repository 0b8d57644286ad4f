-- One row per shopper and category that the shopper's items are in, as of :ds; grain: (ds, user_id, category).
-- An item in home/kitchen/mugs counts for home/kitchen/mugs, home/kitchen and home, one without a category for none.
--
-- Params: :ds  DATE  the day to stand in
-- Reads:  user_item, item
WITH
paths AS (
  SELECT item_id, category, SPLIT(category, '/') AS steps
  FROM item
  WHERE ds = :ds AND category IS NOT NULL AND category <> ''
),
ancestors AS (
  SELECT
    category,
    EXPLODE(
      TRANSFORM(SEQUENCE(1, SIZE(steps)), depth -> ARRAY_JOIN(SLICE(steps, 1, depth), '/'))
    ) AS ancestor
  FROM (SELECT DISTINCT category, steps FROM paths)
),
leaves AS (
  SELECT
    user_item.user_id,
    paths.category,
    SUM(user_item.weight_milli)          AS weight_milli,
    SUM(user_item.purchase_count)        AS purchase_count,
    SUM(user_item.event_count)           AS event_count,
    MIN(user_item.days_since_last_event) AS days_since_last_event
  FROM user_item
  LEFT JOIN paths ON paths.item_id = user_item.item_id
  WHERE user_item.ds = :ds
  GROUP BY user_item.user_id, paths.category
),
totals AS (
  SELECT user_id, SUM(weight_milli) AS weight_milli
  FROM leaves
  GROUP BY user_id
),
categories AS (
  SELECT
    leaves.user_id,
    ancestors.ancestor                AS category,
    SUM(leaves.weight_milli)          AS weight_milli,
    SUM(leaves.purchase_count)        AS purchase_count,
    SUM(leaves.event_count)           AS event_count,
    MIN(leaves.days_since_last_event) AS days_since_last_event
  FROM leaves
  JOIN ancestors ON ancestors.category = leaves.category
  GROUP BY leaves.user_id, ancestors.ancestor
)
SELECT
  categories.user_id,
  categories.category,
  categories.weight_milli,
  categories.purchase_count,
  categories.event_count,
  categories.days_since_last_event,
  IF(totals.weight_milli > 0, categories.weight_milli * 1000L DIV totals.weight_milli, 0L) AS share_milli
FROM categories
JOIN totals ON totals.user_id = categories.user_id
