-- What known shoppers did with the catalogue's items, from the events that are labels; grain: (user_id, item_pos).
-- An impression is no act. Money is what was paid, or else the item's price as of the day, times the pieces; null if
-- neither is known. Prices and pieces have limits, so that no single row can overflow a sum.
--
-- Reads:  acts, item
SELECT
  a.user_id,
  i.item_pos,
  BOOL_OR(a.event_type = 'purchase')                       AS purchased,
  CAST(COUNT_IF(a.event_type IN ('click', 'view')) AS INT) AS view_count,
  CAST(COUNT_IF(a.event_type = 'add_to_cart') AS INT)      AS cart_count,
  MAX(
    CASE WHEN a.event_type = 'view' AND a.value IS NOT NULL THEN CAST(LEAST(a.value, 86400) AS FLOAT) END
  )                                                        AS dwell_s,
  -- LEAST passes over nulls, so missing values are kept from it.
  SUM(
    CASE
      WHEN a.event_type = 'purchase' AND COALESCE(a.unit_price_minor, i.price_minor) IS NOT NULL
        THEN LEAST(COALESCE(a.unit_price_minor, i.price_minor), 1000000000L) * LEAST(COALESCE(a.quantity, 1), 1000000)
    END
  )                                                        AS revenue_minor
FROM acts AS a
JOIN item AS i ON i.item_id = a.item_id
WHERE a.user_id IS NOT NULL AND a.event_type <> 'impression'
GROUP BY a.user_id, i.item_pos
