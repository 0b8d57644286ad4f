-- One row per anonymous visit and item; grain: (ds, session_id, item_id). Only item-item neighbours are made of it.
--
-- Params: :ds                        DATE  last day, inclusive
--         :weight_click_milli        INT   weight of a click, thousandths of a view
--         :weight_view_milli         INT   of a view
--         :weight_rating_milli       INT   of a rating
--         :weight_add_to_cart_milli  INT   of an item put into the cart
--         :weight_purchase_milli     INT   of a purchase
-- Reads:  interactions, item
SELECT
  interactions.session_id,
  interactions.item_id,
  item.item_pos,
  SUM(
    CASE interactions.event_type
      WHEN 'click' THEN :weight_click_milli
      WHEN 'view' THEN :weight_view_milli
      WHEN 'add_to_cart' THEN :weight_add_to_cart_milli
      WHEN 'purchase' THEN :weight_purchase_milli
      WHEN 'rating' THEN :weight_rating_milli
      ELSE 0
    END
  )                                           AS weight_milli,
  DATEDIFF(:ds, MAX(interactions.event_date)) AS days_since_last_event
FROM interactions
JOIN item ON item.item_id = interactions.item_id
WHERE interactions.ds <= :ds
  AND interactions.event_date <= :ds
  AND interactions.user_id IS NULL
  AND interactions.session_id IS NOT NULL
GROUP BY interactions.session_id, interactions.item_id, item.item_pos
