-- One row per anonymous visit and product; grain: (ds, session_id, item_id). Feeds item-item neighbours only.
--
-- Params: :ds                  DATE  last day, inclusive
--         :click_weight        INT   weight of one click, in milli
--         :view_weight         INT   weight of one view, in milli
--         :add_to_cart_weight  INT   weight of one add to cart, in milli
--         :purchase_weight     INT   weight of one purchase, in milli
--         :rating_weight       INT   weight of one rating, in milli
-- Reads:  interactions, item
SELECT
  interactions.session_id,
  interactions.item_id,
  item.item_pos,
  SUM(
    CASE interactions.event_type
      WHEN 'click' THEN :click_weight
      WHEN 'view' THEN :view_weight
      WHEN 'add_to_cart' THEN :add_to_cart_weight
      WHEN 'purchase' THEN :purchase_weight
      WHEN 'rating' THEN :rating_weight
      ELSE 0
    END
  ) AS weight_milli,
  DATEDIFF(:ds, MAX(interactions.event_date)) AS days_since_last_event
FROM interactions
JOIN item ON item.item_id = interactions.item_id
WHERE interactions.ds <= :ds
  AND interactions.event_date <= :ds
  AND interactions.user_id IS NULL
  AND interactions.session_id IS NOT NULL
GROUP BY interactions.session_id, interactions.item_id, item.item_pos
