-- The history that every table of features is rolled up from; grain: (ds, user_id, item_id, event_date, region).
-- A view of a run, never written: events of one landing day, shopper, item, day and region, counted once for all
-- the days that features are asked for. user_id is null for anonymous visits. ds stays in the grain, so that a late
-- row counts from the day it came in.
--
-- event_count leaves impressions out: being shown something is no act of the shopper's.
-- Keys: last_event_key is microseconds since 1970 times 8 plus the event type's place in the funnel, and last_rating_key
-- milliseconds times a million plus the rating in thousandths: one integer each, whose maximum has no ties to break.
--
-- Params: :ds                        DATE  last day, inclusive, of both landing and events
--         :weight_impression_milli   INT   weight of an impression, thousandths of a view
--         :weight_click_milli        INT   of a click
--         :weight_view_milli         INT   of a view
--         :weight_rating_milli       INT   of a rating
--         :weight_add_to_cart_milli  INT   of an item put into the cart
--         :weight_purchase_milli     INT   of a purchase
-- Reads:  interactions
SELECT
  ds,
  user_id,
  item_id,
  event_date,
  region,
  COUNT_IF(event_type <> 'impression')                          AS event_count,
  COUNT_IF(event_type = 'impression')                           AS impression_count,
  COUNT_IF(event_type IN ('view', 'click'))                     AS view_count,
  COUNT_IF(event_type = 'add_to_cart')                          AS cart_count,
  COUNT_IF(event_type = 'purchase')                             AS purchase_count,
  SUM(CASE event_type
        WHEN 'impression'  THEN CAST(:weight_impression_milli AS BIGINT)
        WHEN 'click'       THEN CAST(:weight_click_milli AS BIGINT)
        WHEN 'view'        THEN CAST(:weight_view_milli AS BIGINT)
        WHEN 'rating'      THEN CAST(:weight_rating_milli AS BIGINT)
        WHEN 'add_to_cart' THEN CAST(:weight_add_to_cart_milli AS BIGINT)
        WHEN 'purchase'    THEN CAST(:weight_purchase_milli AS BIGINT)
        ELSE 0L
      END)                                                      AS weight_milli,
  SUM(IF(event_type = 'purchase', COALESCE(quantity, 1), 0))    AS quantity,
  SUM(IF(event_type = 'purchase' AND unit_price_minor IS NOT NULL, COALESCE(quantity, 1), 0))
                                                                AS priced_quantity,
  SUM(IF(event_type = 'purchase', COALESCE(quantity, 1) * unit_price_minor, NULL))
                                                                AS spend_minor,
  MAX(IF(event_type = 'purchase', unit_price_minor, NULL))      AS top_unit_price_minor,
  COUNT(IF(event_type = 'rating', value, NULL))                 AS rating_count,
  SUM(IF(event_type = 'rating', TRY_CAST(ROUND(value * 1000) AS BIGINT), NULL))
                                                                AS rating_sum_milli,
  MAX(IF(event_type = 'rating',
         UNIX_MILLIS(ts) * 1000000L + LEAST(GREATEST(TRY_CAST(ROUND(value * 1000) AS BIGINT), 0L), 999999L),
         NULL))                                                 AS last_rating_key,
  SUM(IF(event_type = 'view', TRY_CAST(ROUND(value) AS BIGINT), NULL))
                                                                AS dwell_seconds,
  MAX(CASE event_type
        WHEN 'click'       THEN UNIX_MICROS(ts) * 8L + 1L
        WHEN 'view'        THEN UNIX_MICROS(ts) * 8L + 2L
        WHEN 'rating'      THEN UNIX_MICROS(ts) * 8L + 3L
        WHEN 'add_to_cart' THEN UNIX_MICROS(ts) * 8L + 4L
        WHEN 'purchase'    THEN UNIX_MICROS(ts) * 8L + 5L
      END)                                                      AS last_event_key
FROM interactions
WHERE ds <= :ds AND event_date <= :ds
GROUP BY ds, user_id, item_id, event_date, region
