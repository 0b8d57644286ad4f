"""The words of the synthetic shop: its categories with their nouns, materials and usual prices; brands; regions.

All brands are made up.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Leaf:
    """A category without children: `price` is usual for it, `peak_month` is when it sells best (0: all year).

    A staple is bought again and again.
    """

    path: str
    price: float
    peak_month: int
    is_staple: bool
    adjectives: tuple[str, ...]
    materials: tuple[str, ...]
    nouns: tuple[str, ...]


REGIONS = ("north", "east", "south", "west", "islands", "capital")
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")

# department | brands | adjectives
_DEPARTMENT_TABLE = """
home | Hearthwell,Oakmoor,Lindale,Fernby,Claywick,Morrow
    | Blue,Ivory,Sage,Charcoal,Rust,Mustard,Cobalt,Blush,Olive,Slate,Sand,Teal
garden | Thornfield,Greenhythe,Rootwise,Sundell,Barrowby,Mossgate
    | Hardy,Compact,Rustic,Classic,Climbing,Wildflower,Shady,Sunny,Tall,Dwarf,Evergreen,Heirloom
food | Millstone,Orchardine,Saltmarsh,Beanery,Honeydown,Larkspur
    | Organic,Roasted,Smoked,Wild,Spiced,Golden,Dark,Mild,Farmhouse,Stoneground,Sweet,Mellow
clothing | Tweedmill,Calderby,Rowanhouse,Selkirke,Brightloom,Penhurst
    | Blue,Ivory,Sage,Charcoal,Rust,Mustard,Cobalt,Blush,Olive,Slate,Sand,Teal
outdoor | Ridgebank,Farrowtrail,Northbeck,Stormcote,Highfell,Tarnside
    | Light,Rugged,Packable,Thermal,Storm,Trail,Quick-Dry,Insulated,Ultralight,Reflective,Arctic,Summer
electronics | Voltarie,Lumenick,Quillon,Hexbridge,Amperly,Nordvane
    | Compact,Wireless,Silver,Graphite,Slim,Portable,Foldable,Quiet,Rapid,Smart,Dual,Mini
beauty | Silkwater,Juniperie,Bloomhall,Purelle,Ambergate,Rosewyn
    | Gentle,Nourishing,Fresh,Velvet,Calming,Radiant,Overnight,Daily,Silky,Botanical,Bright,Pure
toys | Tumbletop,Figgle,Wooderoo,Pixelby,Kitewick,Marblejack
    | Jolly,Tiny,Giant,Rainbow,Rolling,Sleepy,Magnetic,Musical,Curious,Bouncing,Painted,Pocket
"""
_SERIES = """
Harbour Meadow Alpine Heritage Studio Coastal Woodland Metro Aurora Cottage Atelier Classic
Horizon Terrace Lagoon Summit Orchard Canyon Nordic Market Prairie Velvet Ember Willow
"""
_DEPARTMENT_ROWS = [
    [cell.strip() for cell in row.split("|")]
    for row in _DEPARTMENT_TABLE.replace("\n    |", " |").strip().splitlines()
]
DEPARTMENTS = tuple(name for name, _, _ in _DEPARTMENT_ROWS)
BRANDS = tuple(brand for _, brands, _ in _DEPARTMENT_ROWS for brand in brands.split(","))
SERIES = tuple(_SERIES.split())
_ADJECTIVES = {name: tuple(adjectives.split(",")) for name, _, adjectives in _DEPARTMENT_ROWS}

# path | usual price | peak month | staple | materials | nouns
_TABLE = """
home/kitchen/mugs | 9 | 11 | | Stoneware,Porcelain,Enamel,Glass | Mug,Cup
home/kitchen/pans | 42 | 12 | | Cast-Iron,Steel,Copper,Ceramic | Pan,Saucepan
home/kitchen/knives | 35 | 12 | | Steel,Damascus,Ceramic,Walnut-Handled | Chef's Knife,Bread Knife
home/bedding/duvets | 68 | 10 | | Cotton,Linen,Down,Wool | Duvet,Quilt
home/bedding/pillows | 24 | 0 | | Cotton,Feather,Bamboo,Latex | Pillow,Cushion
home/lighting/table-lamps | 46 | 10 | | Brass,Ceramic,Rattan,Oak | Table Lamp,Desk Lamp
home/lighting/candles | 13 | 12 | x | Soy,Beeswax,Scented,Rapeseed | Candle,Tealight Set
home/storage/baskets | 19 | 1 | | Seagrass,Willow,Felt,Jute | Basket,Hamper
garden/plants/seeds | 4 | 3 | | Tomato,Poppy,Bean,Lavender | Seeds,Seed Kit
garden/plants/shrubs | 21 | 4 | | Hydrangea,Rose,Box,Camellia | Shrub,Hedge Plant
garden/plants/houseplants | 17 | 0 | | Monstera,Fern,Fig,Palm | Plant,Cutting
garden/tools/hand-tools | 14 | 4 | | Steel,Ash,Copper,Bamboo | Trowel,Hand Fork
garden/tools/watering | 22 | 6 | | Zinc,Steel,Rubber,Brass | Watering Can,Hose
garden/outdoor-living/pots | 18 | 5 | | Terracotta,Stone,Zinc,Glazed | Pot,Planter
garden/outdoor-living/barbecue | 85 | 6 | | Charcoal,Steel,Gas,Cast-Iron | Grill,Fire Bowl
food/drinks/coffee | 11 | 0 | x | Arabica,Espresso,Decaf,Filter | Coffee Beans,Ground Coffee
food/drinks/tea | 7 | 11 | x | Assam,Green,Peppermint,Rooibos | Tea,Tea Bags
food/drinks/juice | 6 | 7 | x | Apple,Pear,Elderflower,Cherry | Juice,Cordial
food/pantry/pasta | 4 | 0 | x | Wheat,Spelt,Egg,Lentil | Penne,Tagliatelle
food/pantry/oils | 12 | 0 | x | Olive,Rapeseed,Sesame,Walnut | Oil,Dressing
food/pantry/honey | 8 | 9 | x | Heather,Acacia,Clover,Forest | Honey,Honeycomb
food/sweets/chocolate | 5 | 12 | x | Hazelnut,Milk,Orange,Caramel | Chocolate,Truffles
food/sweets/biscuits | 5 | 12 | x | Butter,Oat,Ginger,Almond | Biscuits,Shortbread
clothing/knitwear/jumpers | 58 | 11 | | Merino,Lambswool,Cotton,Cashmere | Jumper,Cardigan
clothing/knitwear/scarves | 26 | 12 | | Merino,Silk,Mohair,Alpaca | Scarf,Shawl
clothing/basics/t-shirts | 18 | 6 | | Cotton,Linen,Jersey,Bamboo | T-Shirt,Vest
clothing/basics/socks | 9 | 12 | x | Wool,Cotton,Bamboo,Cashmere | Socks,Slipper Socks
clothing/dresses/day-dresses | 64 | 5 | | Linen,Cotton,Viscose,Denim | Dress,Pinafore
clothing/dresses/skirts | 44 | 5 | | Denim,Pleated,Corduroy,Wool | Skirt,Culottes
clothing/shoes/trainers | 72 | 4 | | Canvas,Suede,Mesh,Leather | Trainers,Plimsolls
clothing/shoes/boots | 110 | 10 | | Leather,Suede,Waxed,Rubber | Boots,Ankle Boots
outdoor/camping/tents | 160 | 6 | | Two-Person,Four-Person,Tunnel,Dome | Tent,Shelter
outdoor/camping/sleeping-bags | 75 | 6 | | Down,Synthetic,Fleece,Hooded | Sleeping Bag,Bivvy
outdoor/hiking/backpacks | 82 | 5 | | Canvas,Ripstop,Roll-Top,Framed | Backpack,Daypack
outdoor/hiking/bottles | 19 | 7 | | Steel,Glass,Titanium,Filter | Bottle,Flask
outdoor/cycling/lights | 27 | 10 | | Front,Rear,Helmet,USB | Bike Light,Light Set
outdoor/cycling/gloves | 24 | 3 | | Gel,Leather,Mesh,Windproof | Cycling Gloves,Mitts
outdoor/running/shorts | 29 | 5 | | Split,Lined,Mesh,Stretch | Running Shorts,Running Tights
outdoor/running/nutrition | 10 | 0 | x | Citrus,Cocoa,Berry,Salted | Energy Gels,Energy Bars
electronics/audio/headphones | 95 | 12 | | Over-Ear,In-Ear,Studio,Open-Back | Headphones,Earbuds
electronics/audio/speakers | 120 | 12 | | Bluetooth,Shelf,Walnut,Outdoor | Speaker,Soundbar
electronics/computing/keyboards | 65 | 9 | | Mechanical,Split,Low-Profile,Aluminium | Keyboard,Number Pad
electronics/computing/mice | 38 | 9 | | Ergonomic,Vertical,Gaming,Travel | Mouse,Trackball
electronics/computing/cables | 11 | 0 | | Braided,USB-C,Magnetic,Flat | Cable,Adapter
electronics/home/sensors | 34 | 0 | | Motion,Door,Climate,Leak | Sensor,Alarm
electronics/home/vacuums | 210 | 1 | | Cordless,Robot,Upright,Handheld | Vacuum,Cleaner
electronics/power/batteries | 12 | 12 | x | Lithium,Alkaline,Rechargeable,Solar | Batteries,Power Bank
beauty/skin/creams | 23 | 1 | x | Oat,Aloe,Rosehip,Shea | Face Cream,Body Lotion
beauty/skin/sun-care | 16 | 7 | | Mineral,Coconut,Sport,Family | Sun Lotion,After-Sun
beauty/hair/shampoo | 9 | 0 | x | Nettle,Argan,Citrus,Charcoal | Shampoo,Conditioner
beauty/hair/brushes | 21 | 0 | | Bamboo,Boar-Bristle,Paddle,Beech | Hairbrush,Comb
beauty/bath/soaps | 6 | 0 | x | Lavender,Olive,Charcoal,Almond | Soap,Hand Wash
beauty/fragrance/perfume | 62 | 12 | | Cedar,Rose,Bergamot,Vetiver | Perfume,Cologne
toys/building/blocks | 32 | 12 | | Wooden,Castle,Space,City | Blocks,Building Set
toys/puzzles/jigsaws | 16 | 12 | | Forest,Map,Harbour,Animal | Jigsaw,Floor Puzzle
toys/soft-toys/animals | 19 | 12 | | Plush,Corduroy,Knitted,Velour | Bear,Fox
toys/games/board-games | 29 | 12 | | Family,Strategy,Party,Travel | Board Game,Card Game
toys/outdoor/kites | 22 | 5 | | Delta,Box,Stunt,Nylon | Kite,Windsock
toys/craft/paints | 13 | 0 | x | Poster,Watercolour,Finger,Chalk | Paints,Paint Set
toys/craft/clay | 11 | 0 | | Modelling,Air-Dry,Polymer,Glow | Clay,Clay Kit
"""


def _leaf(line: str) -> Leaf:
    path, price, month, staple, materials, nouns = (cell.strip() for cell in line.split("|"))
    return Leaf(
        path,
        float(price),
        int(month),
        staple == "x",
        _ADJECTIVES[path.split("/")[0]],
        tuple(materials.split(",")),
        tuple(nouns.split(",")),
    )


LEAVES = tuple(_leaf(line) for line in _TABLE.strip().splitlines())
