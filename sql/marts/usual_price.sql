-- What an item usually cost in the last :window_days days, where its price changed in them; grain: (ds, item_id).
-- It is the median of the daily prices: of each landed price, by the days for which it held. So a price that was cut
-- counts as cut for half of the window at most, and is the usual one after that.
--
-- Params: :ds           DATE  the day, the last of the window
--         :window_days  INT   length of the window
-- Reads:  items
WITH
landed AS (
  SELECT
    item_id,
    price_minor,
    GREATEST(ds, DATE_SUB(:ds, :window_days - 1))        AS first_day,
    LEAD(ds) OVER (PARTITION BY item_id ORDER BY ds ASC) AS next_day
  FROM items
  WHERE ds <= :ds AND price_minor IS NOT NULL AND NOT COALESCE(ARRAY_CONTAINS(absent, 'price'), FALSE)
),
prices AS (
  SELECT item_id, price_minor, SUM(DATEDIFF(COALESCE(next_day, DATE_ADD(:ds, 1)), first_day)) AS days
  FROM landed
  WHERE COALESCE(next_day, DATE_ADD(:ds, 1)) > first_day
  GROUP BY item_id, price_minor
),
summed AS (
  SELECT
    item_id,
    price_minor,
    SUM(days) OVER (PARTITION BY item_id ORDER BY price_minor ASC) AS days_up_to,
    SUM(days) OVER (PARTITION BY item_id)                          AS days_in_all
  FROM prices
)
SELECT item_id, MIN(IF(2 * days_up_to > days_in_all, price_minor, NULL)) AS usual_price_minor
FROM summed
GROUP BY item_id
HAVING COUNT(*) > 1
