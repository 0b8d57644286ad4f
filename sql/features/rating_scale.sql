-- The middle of the shop's scale of ratings, as far as it has shown; grain: (), one row, null without a rating.
-- A view of a run, never written. It lies between the lowest rating and the highest, without the highest hundredth:
-- one slip of the pen does not make dislikes of all others. Equal ratings of an item on a day, of one shopper, are one.
--
-- Reads:  visible_events
SELECT (MIN(rating_milli) + PERCENTILE(rating_milli, 0.99)) / 2 AS middle_milli
FROM (
  SELECT DISTINCT
    user_id,
    session_id,
    item_id,
    days_ago,
    rating_milli
  FROM visible_events
  WHERE event_type = 'rating' AND rating_milli IS NOT NULL
)
