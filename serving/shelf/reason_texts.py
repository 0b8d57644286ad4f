"""The text of each reason, as shoppers read it: "Because you bought Blue mug"."""

_TEXTS = {
    # reason code: the text that names a thing, the text without a name
    "popular": ("Popular right now", "Popular right now"),
    "trending": ("Trending in {}", "Trending now"),
    "popular_in_category": ("Popular in {}", "Popular right now"),
    "new_item": ("New in {}", "New arrival"),
    "buy_again": ("Buy again", "Buy again"),
    "bought": ("Because you bought {}", "Because of what you bought"),
    "viewed": ("Because you viewed {}", "Because of what you viewed"),
    "carted": ("Because {} is in your basket", "Goes with your basket"),
    "similar_taste": ("Picked for your taste", "Picked for your taste"),
    "explore": ("Worth a look", "Worth a look"),
}
NAME_CATEGORY = {"trending", "popular_in_category", "new_item"}  # reasons that name the item's category


def reason_text(reason: str, name: str) -> str:
    """Return the text of a reason with the title or category that it names; without one where `name` is empty."""
    with_name, without_name = _TEXTS[reason]
    return with_name.format(name) if name else without_name


def category_name(path: str) -> str:
    """Return the last part of a category path, as a sentence names it: `home/coffee_mugs` gives `coffee mugs`."""
    return path.rpartition("/")[2].replace("_", " ").replace("-", " ")
