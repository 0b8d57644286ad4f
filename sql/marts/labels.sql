-- What known shoppers did with the catalogue's items, from the events that are labels; grain: (user_id, item_pos).
-- An impression is no act, nor is a low rating. Money is what was paid for what was not returned, or else the item's
-- price as of the day, times the pieces or their weight, rounded half up to a whole minor unit for each purchase; null
-- if neither is known. Prices and pieces have limits, so that no single row can overflow a sum.
--
-- Reads:  acts, item
SELECT
  a.user_id,
  i.item_pos,
  BOOL_OR(a.event_type = 'purchase')                       AS purchased,
  CAST(COUNT_IF(a.event_type IN ('click', 'view')) AS INT) AS view_count,
  CAST(COUNT_IF(a.event_type = 'add_to_cart') AS INT)      AS cart_count,
  CAST(MAX(a.dwell_seconds) AS FLOAT)                      AS dwell_s,
  -- LEAST passes over nulls, so missing values are kept from it.
  SUM(
    CASE
      WHEN a.event_type = 'purchase' AND COALESCE(a.unit_price_minor, i.price_minor) IS NOT NULL
        THEN (
          LEAST(COALESCE(a.unit_price_minor, i.price_minor), 1000000000L) * LEAST(a.quantity_milli, 1000000000L) + 500L
        ) DIV 1000L
    END
  )                                                        AS revenue_minor
FROM acts AS a
JOIN item AS i ON i.item_id = a.item_id
WHERE a.user_id IS NOT NULL AND a.event_type <> 'impression' AND NOT a.is_low
GROUP BY a.user_id, i.item_pos
