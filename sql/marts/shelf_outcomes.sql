-- What shoppers did on the day with what stood on their shelves: by item, by shelf of a page where item_id is null and
-- shelf is not, and of all where both are null; grain: (item_id, page, shelf, row).
-- A view of a run, never written: the day's record `shelf_outcomes.json` is made of it.
-- Shown is an item in the first :places places of an answered request. An event of the day that names the request
-- follows from it. An event that names none follows the latest showing of its item to its shopper, if that was less
-- than :follow_minutes minutes before. A shown item counts as clicked once, by a click or a view. An order is a row of
-- type purchase, whatever was returned later; its revenue is its price times its quantity, where none means one.
--
-- Params: :ds              DATE  the landing folder's day, of exposures and of events
--         :places          INT   places of a shelf that count, from the top
--         :follow_minutes  INT   how long after it was shown an event without a request still counts
-- Reads:  exposures, interactions
WITH
shown AS (
  SELECT request_id, user_id, item_id, MIN(ts) AS ts, MIN(page) AS page, MIN(shelf) AS shelf, MIN(row) AS row
  FROM exposures
  WHERE ds = :ds AND position < :places
  GROUP BY request_id, user_id, item_id
),
acts AS (
  SELECT
    interaction_id,
    request_id,
    user_id,
    item_id,
    ts,
    event_type = 'purchase'                                                                 AS is_order,
    event_type IN ('click', 'view')                                                         AS is_click,
    CAST(ROUND(unit_price_minor * COALESCE(quantity, CAST(1 AS DECIMAL(18, 3)))) AS BIGINT) AS amount_minor
  FROM interactions
  WHERE ds = :ds AND event_type IN ('click', 'view', 'purchase')
),
followed AS (
  SELECT a.interaction_id, s.request_id, s.item_id, a.is_order, a.is_click, a.amount_minor
  FROM shown AS s
  JOIN acts AS a ON a.request_id = s.request_id AND a.item_id = s.item_id
  UNION ALL
  SELECT
    a.interaction_id,
    MAX(STRUCT(s.ts, s.request_id)).request_id,
    a.item_id,
    a.is_order,
    a.is_click,
    a.amount_minor
  FROM shown AS s
  JOIN acts AS a ON a.user_id = s.user_id AND a.item_id = s.item_id
  WHERE a.request_id IS NULL AND a.ts >= s.ts AND a.ts < s.ts + MAKE_DT_INTERVAL(0, 0, :follow_minutes)
  GROUP BY a.interaction_id, a.item_id, a.is_order, a.is_click, a.amount_minor
),
outcomes AS (
  SELECT
    request_id,
    item_id,
    COUNT_IF(is_click) > 0                          AS is_clicked,
    COUNT_IF(is_order)                              AS order_count,
    COUNT_IF(is_order AND amount_minor IS NULL)     AS unpriced_order_count,
    SUM(IF(is_order, COALESCE(amount_minor, 0), 0)) AS revenue_minor
  FROM followed
  GROUP BY request_id, item_id
),
shop AS (
  SELECT
    COUNT_IF(is_order)                              AS order_count,
    SUM(IF(is_order, COALESCE(amount_minor, 0), 0)) AS revenue_minor
  FROM acts
),
sums AS (
  SELECT
    s.item_id,
    s.page,
    s.shelf,
    s.row,
    COUNT(*)                                 AS exposure_count,
    COUNT(DISTINCT s.request_id)             AS request_count,
    COUNT(DISTINCT s.user_id)                AS user_count,
    COUNT_IF(COALESCE(o.is_clicked, FALSE))  AS click_count,
    COALESCE(SUM(o.order_count), 0)          AS order_count,
    COALESCE(SUM(o.unpriced_order_count), 0) AS unpriced_order_count,
    COALESCE(SUM(o.revenue_minor), 0)        AS revenue_minor
  FROM shown AS s
  LEFT JOIN outcomes AS o ON o.request_id = s.request_id AND o.item_id = s.item_id
  GROUP BY GROUPING SETS ((s.item_id), (s.page, s.shelf, s.row), ())
  HAVING GROUPING(s.shelf) = 1 OR s.shelf IS NOT NULL
)
-- Without any exposure there are no sums, and the shop's own day stands alone.
SELECT
  sums.item_id,
  sums.page,
  sums.shelf,
  sums.row,
  COALESCE(sums.exposure_count, 0)       AS exposure_count,
  COALESCE(sums.request_count, 0)        AS request_count,
  COALESCE(sums.user_count, 0)           AS user_count,
  COALESCE(sums.click_count, 0)          AS click_count,
  COALESCE(sums.order_count, 0)          AS order_count,
  COALESCE(sums.unpriced_order_count, 0) AS unpriced_order_count,
  COALESCE(sums.revenue_minor, 0)        AS revenue_minor,
  COALESCE(shop.order_count, 0)          AS shop_order_count,
  COALESCE(shop.revenue_minor, 0)        AS shop_revenue_minor
FROM shop
LEFT JOIN sums ON TRUE
