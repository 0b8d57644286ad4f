-- The shelves for shoppers who have none of their own, as of :ds, best item first; grain: (ds, shelf, shelf_key, rank).
-- global: most weight in 30 days times conversion, then most weight ever; items that nobody touched come last, the
-- newest first. Conversion is how much more often than in the whole shop a look led to a purchase, in 30 days and in
-- :prior_looks more looks that did as the shop's do; 1 without purchases. What many look at and few buy stands lower.
-- trending: the day and the week against the rate of the 83 days before them (or since the item came), in standard
-- deviations of a count. new: on sale for :new_item_days or less, most weight in 7 days first.
-- region, age_band: most weight in 30 days among their shoppers, times conversion. category: as global, for each path
-- and its ancestors.
-- best_sellers and most_viewed (_7d, _30d): most purchases, or views and clicks, in the last 7 or 30 days, of the shop
-- (no key) and of each path; best_sellers_30d_region: of the shoppers of a region. on_sale: what costs at most
-- :sale_share of its usual price, most weight in 30 days first, of the shop and of each path.
-- Only items in stock, or of unknown stock. An item with a minimum age (least_ages) stands only on shelves of age bands
-- that begin at that age or above (band_ages). Remaining ties go by item_id.
--
-- Params: :ds             DATE  the day
--         :shelf_length   INT   most items of a shelf
--         :page_length    INT   most items of best_sellers, most_viewed and on_sale
--         :sale_share     DOUBLE  of the usual price, at most what an item on sale costs
--         :prior_looks    INT   looks that every item's conversion is given on top
--         :new_item_days  INT   age in days up to which an item is new
-- Reads:  item, user, user_item, usual_price, least_ages, band_ages
WITH
looks AS (
  SELECT
    CAST(NULLIF(SUM(purchase_count_30d), 0) AS DOUBLE)
    / NULLIF(SUM(GREATEST(view_count_30d, purchase_count_30d)), 0) AS rate
  FROM item
  WHERE ds = :ds AND (stock IS NULL OR stock > 0)
),
sold AS (
  SELECT
    item_id,
    category,
    age_days,
    days_since_last_event IS NULL                                                   AS untouched,
    IF(days_since_last_event IS NULL, age_days, 0)                                  AS untouched_age_days,
    weight_7d,
    weight_30d,
    weight_total,
    price_minor,
    purchase_count_7d,
    purchase_count_30d,
    view_count_7d,
    view_count_30d,
    COALESCE(
      (purchase_count_30d / (SELECT looks.rate FROM looks) + :prior_looks)
      / (GREATEST(view_count_30d, purchase_count_30d) + :prior_looks), 1.0D
    )                                                                               AS conversion,
    weight_1d / 1000.0D                                                             AS day_weight,
    weight_7d / 1000.0D                                                             AS week_weight,
    (weight_90d - weight_7d) * 7 / (1000.0D * LEAST(83, GREATEST(7, age_days - 6))) AS usual_week_weight
  FROM item
  WHERE ds = :ds AND (stock IS NULL OR stock > 0)
),
surges AS (
  SELECT
    item_id,
    week_weight,
    (week_weight - usual_week_weight) / SQRT(GREATEST(usual_week_weight, 1.0D))
    + (day_weight - usual_week_weight / 7) / SQRT(GREATEST(usual_week_weight / 7, 1.0D)) AS surge
  FROM sold
),
segment_items AS (
  SELECT
    shopper.region,
    shopper.age_band,
    user_item.item_id,
    SUM(user_item.weight_30d_milli)   AS weight_30d,
    SUM(user_item.purchase_count_30d) AS purchase_count_30d
  FROM user_item
  JOIN `user` AS shopper ON shopper.user_id = user_item.user_id
  WHERE user_item.ds = :ds AND shopper.ds = :ds AND user_item.weight_30d_milli > 0
  GROUP BY shopper.region, shopper.age_band, user_item.item_id
),
category_items AS (
  SELECT
    item_id,
    EXPLODE(TRANSFORM(
      SEQUENCE(1, SIZE(SPLIT(category, '/'))), depth -> ARRAY_JOIN(SLICE(SPLIT(category, '/'), 1, depth), '/')
    )) AS path
  FROM sold
  WHERE category IS NOT NULL AND category <> ''
),
counted AS (
  SELECT item_id, 'best_sellers_7d' AS shelf, purchase_count_7d AS score, weight_total
  FROM sold
  WHERE purchase_count_7d > 0
  UNION ALL
  SELECT item_id, 'best_sellers_30d', purchase_count_30d, weight_total
  FROM sold
  WHERE purchase_count_30d > 0
  UNION ALL
  SELECT item_id, 'most_viewed_7d', view_count_7d, weight_total
  FROM sold
  WHERE view_count_7d > 0
  UNION ALL
  SELECT item_id, 'most_viewed_30d', view_count_30d, weight_total
  FROM sold
  WHERE view_count_30d > 0
  UNION ALL
  SELECT sold.item_id, 'on_sale', sold.weight_30d, sold.weight_total
  FROM sold
  JOIN usual_price ON usual_price.item_id = sold.item_id
  WHERE sold.price_minor <= usual_price.usual_price_minor * :sale_share
),
places AS (
  SELECT
    'global'                          AS shelf,
    ''                                AS shelf_key,
    item_id,
    weight_30d / 1000.0D * conversion AS score,
    weight_total,
    untouched,
    untouched_age_days
  FROM sold
  UNION ALL
  SELECT 'trending', '', item_id, surge, 0L, FALSE, 0
  FROM surges
  WHERE surge > 0 AND week_weight > 0
  UNION ALL
  SELECT 'new', '', item_id, weight_7d / 1000.0D, 0L, FALSE, age_days
  FROM sold
  WHERE age_days <= :new_item_days
  UNION ALL
  SELECT 'region', s.region, s.item_id, SUM(s.weight_30d) / 1000.0D * MAX(sold.conversion), 0L, FALSE, 0
  FROM segment_items AS s
  JOIN sold ON sold.item_id = s.item_id
  WHERE s.region <> ''
  GROUP BY s.region, s.item_id
  UNION ALL
  SELECT 'age_band', s.age_band, s.item_id, SUM(s.weight_30d) / 1000.0D * MAX(sold.conversion), 0L, FALSE, 0
  FROM segment_items AS s
  JOIN sold ON sold.item_id = s.item_id
  WHERE s.age_band <> ''
  GROUP BY s.age_band, s.item_id
  UNION ALL
  SELECT
    'category',
    c.path,
    c.item_id,
    sold.weight_30d / 1000.0D * sold.conversion,
    sold.weight_total,
    sold.untouched,
    sold.untouched_age_days
  FROM category_items AS c
  JOIN sold ON sold.item_id = c.item_id
  UNION ALL
  SELECT shelf, '', item_id, CAST(score AS DOUBLE), weight_total, FALSE, 0
  FROM counted
  UNION ALL
  SELECT counted.shelf, c.path, c.item_id, CAST(counted.score AS DOUBLE), counted.weight_total, FALSE, 0
  FROM category_items AS c
  JOIN counted ON counted.item_id = c.item_id
  UNION ALL
  SELECT 'best_sellers_30d_region', s.region, s.item_id, CAST(SUM(s.purchase_count_30d) AS DOUBLE), 0L, FALSE, 0
  FROM segment_items AS s
  JOIN sold ON sold.item_id = s.item_id
  WHERE s.region <> '' AND s.purchase_count_30d > 0
  GROUP BY s.region, s.item_id
),
shown AS (
  SELECT p.shelf, p.shelf_key, p.item_id, p.score, p.weight_total, p.untouched, p.untouched_age_days
  FROM places AS p
  LEFT JOIN least_ages ON least_ages.item_id = p.item_id
  LEFT JOIN band_ages ON p.shelf = 'age_band' AND band_ages.age_band = p.shelf_key
  WHERE COALESCE(least_ages.least_age, 0) <= COALESCE(band_ages.age, 0)
),
ranked AS (
  SELECT
    shelf,
    shelf_key,
    CAST(ROW_NUMBER() OVER (
      PARTITION BY shelf, shelf_key
      ORDER BY score DESC, weight_total DESC, untouched ASC, untouched_age_days ASC, item_id ASC
    ) AS INT) AS rank,
    item_id,
    score
  FROM shown
)
SELECT shelf, shelf_key, rank, item_id, score
FROM ranked
WHERE rank <= IF(shelf IN ('global', 'trending', 'new', 'region', 'age_band', 'category'), :shelf_length, :page_length)
