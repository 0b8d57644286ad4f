// The page's own words. Titles of shelves and reasons come from the endpoint, in the same language.

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español", ru: "Русский" };

const WORDS = {
  en: {
    homepage: "Home", cart: "Basket", checkout: "Checkout", shopper: "Shopper", language: "Language",
    visitor: "Visitor without an id", welcome: "Welcome", welcomeBack: "Welcome back, {name}",
    add: "Add to basket", remove: "Take out", added: "In the basket: {item}", removed: "Taken out: {item}",
    empty: "The basket is empty.", total: "Total", toCheckout: "To checkout", buy: "Buy (nothing is charged)",
    bought: "Bought. The next shelves know it already.", noShelves: "No shelf has enough products here.",
    actions: "What you did last", noActions: "Nothing yet. Open a product, and the shelves follow.",
    startOver: "Start over", request: "The request behind this page",
    view: "viewed", click: "clicked", add_to_cart: "put into the basket", remove_from_cart: "taken out", purchase: "bought",
  },
  de: {
    homepage: "Start", cart: "Warenkorb", checkout: "Kasse", shopper: "Kunde", language: "Sprache",
    visitor: "Besucher ohne Kennung", welcome: "Willkommen", welcomeBack: "Willkommen zurück, {name}",
    add: "In den Warenkorb", remove: "Herausnehmen", added: "Im Warenkorb: {item}", removed: "Herausgenommen: {item}",
    empty: "Der Warenkorb ist leer.", total: "Summe", toCheckout: "Zur Kasse", buy: "Kaufen (es kostet nichts)",
    bought: "Gekauft. Die nächsten Empfehlungen wissen es schon.", noShelves: "Hier gibt es nicht genug Produkte zu empfehlen.",
    actions: "Was Sie zuletzt getan haben", noActions: "Noch nichts. Öffnen Sie ein Produkt, und die Empfehlungen folgen.",
    startOver: "Von vorn beginnen", request: "Die Anfrage hinter dieser Seite",
    view: "angesehen", click: "angeklickt", add_to_cart: "in den Warenkorb gelegt", remove_from_cart: "herausgenommen", purchase: "gekauft",
  },
  fr: {
    homepage: "Accueil", cart: "Panier", checkout: "Paiement", shopper: "Client", language: "Langue",
    visitor: "Visiteur sans identifiant", welcome: "Bienvenue", welcomeBack: "Bon retour, {name}",
    add: "Ajouter au panier", remove: "Retirer", added: "Dans le panier : {item}", removed: "Retiré : {item}",
    empty: "Le panier est vide.", total: "Total", toCheckout: "Passer au paiement", buy: "Acheter (rien n’est débité)",
    bought: "Acheté. Les prochaines recommandations le savent déjà.", noShelves: "Pas assez de produits à recommander ici.",
    actions: "Vos dernières actions", noActions: "Rien pour l’instant. Ouvrez un produit, et les recommandations suivent.",
    startOver: "Recommencer", request: "La requête derrière cette page",
    view: "consulté", click: "cliqué", add_to_cart: "mis au panier", remove_from_cart: "retiré", purchase: "acheté",
  },
  es: {
    homepage: "Inicio", cart: "Cesta", checkout: "Pago", shopper: "Cliente", language: "Idioma",
    visitor: "Visitante sin identificador", welcome: "Te damos la bienvenida", welcomeBack: "Hola de nuevo, {name}",
    add: "Añadir a la cesta", remove: "Quitar", added: "En la cesta: {item}", removed: "Quitado: {item}",
    empty: "La cesta está vacía.", total: "Total", toCheckout: "Ir al pago", buy: "Comprar (no se cobra nada)",
    bought: "Comprado. Las próximas recomendaciones ya lo saben.", noShelves: "Aquí no hay suficientes productos que recomendar.",
    actions: "Lo último que hiciste", noActions: "Nada todavía. Abre un producto y las recomendaciones te seguirán.",
    startOver: "Empezar de nuevo", request: "La petición detrás de esta página",
    view: "visto", click: "pulsado", add_to_cart: "puesto en la cesta", remove_from_cart: "quitado", purchase: "comprado",
  },
  ru: {
    homepage: "Главная", cart: "Корзина", checkout: "Оформление", shopper: "Покупатель", language: "Язык",
    visitor: "Гость без идентификатора", welcome: "Добро пожаловать", welcomeBack: "С возвращением, {name}",
    add: "В корзину", remove: "Убрать", added: "В корзине: {item}", removed: "Убрано: {item}",
    empty: "Корзина пуста.", total: "Итого", toCheckout: "К оформлению", buy: "Купить (деньги не списываются)",
    bought: "Куплено. Следующие рекомендации уже это учитывают.", noShelves: "Здесь недостаточно товаров для рекомендаций.",
    actions: "Ваши последние действия", noActions: "Пока ничего. Откройте товар, и рекомендации изменятся.",
    startOver: "Начать заново", request: "Запрос этой страницы",
    view: "просмотрено", click: "нажато", add_to_cart: "положено в корзину", remove_from_cart: "убрано", purchase: "куплено",
  },
};

/** A function from a key, and what its braces name, to words of a language. */
export function wordsOf(language) {
  return (key, names = {}) => WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => names[name]);
}
