# ruff: noqa: RUF001  # Turkish has a dotless i
"""The invented shops of the sample: names, places, wares and words, by language."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tongue:
    """What a till prints, and how it writes numbers and dates."""

    subtotal: str
    tax: str
    total: str
    cash: str
    card: str
    change: str
    phone: str
    till: str
    thanks: str
    currency: str
    decimal: str
    date: str  # strftime
    tax_percent: int
    cents: bool = True


@dataclass(frozen=True)
class Shop:
    """One merchant and what it sells: ``(ware, price in the currency's unit)``."""

    name: str
    street: str
    town: str
    phone: str
    tongue: str
    wares: str


TONGUES = {
    "us": Tongue("SUBTOTAL", "SALES TAX", "TOTAL", "CASH", "CARD", "CHANGE", "TEL", "REGISTER",
                 "THANK YOU, COME AGAIN", "$", ".", "%m/%d/%Y %I:%M %p", 7),
    "uk": Tongue("Subtotal", "VAT", "TOTAL", "Cash", "Card", "Change", "Tel", "Till",
                 "Thank you for your custom", "£", ".", "%d/%m/%Y %H:%M", 20),
    "de": Tongue("Zwischensumme", "MwSt", "SUMME", "Bar", "Karte", "Rückgeld", "Tel.", "Kasse",
                 "Vielen Dank für Ihren Einkauf", "EUR", ",", "%d.%m.%Y %H:%M", 19),
    "fr": Tongue("Sous-total", "TVA", "TOTAL TTC", "Espèces", "Carte", "Rendu", "Tél", "Caisse",
                 "Merci de votre visite", "EUR", ",", "%d/%m/%Y %Hh%M", 20),
    "es": Tongue("Subtotal", "IVA", "TOTAL", "Efectivo", "Tarjeta", "Cambio", "Tfno", "Caja",
                 "Gracias por su compra", "EUR", ",", "%d-%m-%Y %H:%M", 21),
    "it": Tongue("Subtotale", "IVA", "TOTALE COMPLESSIVO", "Contanti", "Carta", "Resto", "Tel", "Cassa",
                 "Grazie e arrivederci", "EUR", ",", "%d-%m-%Y %H:%M", 22),
    "pl": Tongue("Suma częściowa", "PTU A", "SUMA PLN", "Gotówka", "Karta", "Reszta", "tel.", "Kasa",
                 "Dziękujemy, zapraszamy ponownie", "zł", ",", "%Y-%m-%d %H:%M", 23),
    "sv": Tongue("Delsumma", "Moms", "ATT BETALA", "Kontant", "Kort", "Växel", "Tel", "Kassa",
                 "Tack och välkommen åter", "kr", ",", "%Y-%m-%d %H:%M", 25),
    "id": Tongue("Subtotal", "PPN", "TOTAL BAYAR", "Tunai", "Kartu", "Kembali", "Telp", "Kasir",
                 "Terima kasih atas kunjungan Anda", "Rp", ".", "%d-%m-%Y %H:%M", 11, cents=False),
    "vi": Tongue("Tạm tính", "Thuế VAT", "TỔNG CỘNG", "Tiền mặt", "Thẻ", "Tiền thối", "ĐT", "Quầy",
                 "Cảm ơn quý khách, hẹn gặp lại", "đ", ".", "%d/%m/%Y %H:%M", 8, cents=False),
    "tr": Tongue("ARA TOPLAM", "KDV", "TOPLAM", "NAKİT", "KART", "PARA ÜSTÜ", "Tel", "Kasa",
                 "Bizi tercih ettiğiniz için teşekkürler", "TL", ",", "%d.%m.%Y %H:%M", 20),
}  # fmt: skip

WARES: dict[str, list[tuple[str, float]]] = {
    "cafe": [("Flat white", 3.9), ("Oat latte", 4.4), ("Cinnamon bun", 3.25), ("Almond croissant", 3.6),
             ("Lemon drizzle slice", 3.1), ("Pot of Assam tea", 2.95), ("Toasted cheese sandwich", 6.8)],
    "hardware": [("Claw hammer 16 oz", 18.99), ("Wood screws 4x40, 200 pcs", 6.49), ("Masking tape 1 in", 3.79),
                 ("Interior paint, eggshell 1 gal", 34.5), ("LED bulb 9W, 2 pack", 7.25), ("Hose clamp", 1.19)],
    "pharmacy": [("Ibuprofen 200 mg, 24 tabs", 5.49), ("Plasters assorted", 2.85), ("Hand cream 75 ml", 4.2),
                 ("Vitamin D3 drops", 8.9), ("Toothbrush soft", 2.1), ("Cough syrup honey", 6.75)],
    "books": [("Field Guide to Moss", 17.5), ("Secondhand paperback", 4.0), ("Map of the North Fells", 9.99),
              ("Notebook A5 dotted", 6.5), ("Pencil HB, box of 12", 5.2), ("Greeting card", 2.75)],
    "diner": [("Blueberry pancakes", 9.5), ("Two eggs any style", 7.25), ("Bottomless coffee", 3.0),
              ("Hash browns", 3.75), ("Turkey club", 11.95), ("Key lime pie", 5.5)],
    "garden": [("Tomato seedlings, tray", 8.4), ("Peat free compost 40 l", 7.99), ("Terracotta pot 18 cm", 5.6),
               ("Pruning shears", 14.25), ("Lavender 2 l", 6.9), ("Bird seed 2 kg", 5.15)],
    "baecker": [("Roggenmischbrot 750 g", 4.35), ("Laugenbrezel", 1.2), ("Käsekuchen, Stück", 3.1),
                ("Körnerbrötchen", 0.95), ("Apfelstrudel", 3.4), ("Filterkaffee groß", 2.9)],
    "baumarkt": [("Dübel 8 mm, 50 St.", 4.99), ("Wandfarbe weiß 5 l", 22.95), ("Zollstock 2 m", 5.45),
                 ("Schleifpapier K120", 3.29), ("Gartenschlauch 20 m", 19.9), ("Müllsäcke 60 l", 2.79)],
    "epicerie": [("Pain au levain", 3.8), ("Comté 18 mois 250 g", 7.45), ("Œufs plein air x6", 2.95),
                 ("Confiture de figues", 4.6), ("Crème fraîche 20 cl", 1.75), ("Tarte aux pommes", 12.5)],
    "tapas": [("Tortilla española", 6.5), ("Pimientos de Padrón", 5.8), ("Caña", 2.2),
              ("Croquetas de jamón x6", 7.9), ("Café con leche", 1.7), ("Piña natural", 3.5)],
    "alimentari": [("Pecorino stagionato 300 g", 8.7), ("Focaccia al rosmarino", 2.4), ("Caffè macinato 250 g", 4.95),
                   ("Olio extravergine 75 cl", 11.9), ("Pomodori pelati", 1.35), ("Tiramisù monoporzione", 3.8)],
    "spozywczy": [("Chleb żytni", 6.4), ("Masło 200 g", 7.99), ("Śmietana 18%", 3.29),
                  ("Pierogi ruskie 400 g", 12.5), ("Kefir 1 l", 5.19), ("Pączek z różą", 4.2)],
    "livs": [("Knäckebröd råg", 28.9), ("Kanelbulle", 32.0), ("Mellanmjölk 1,5 l", 23.5),
             ("Lingonsylt", 36.9), ("Lösgodis hg", 14.9), ("Västerbottenost 400 g", 69.0)],
    "warung": [("Nasi goreng kampung", 28000), ("Es teh manis", 6000), ("Sate ayam 10 tusuk", 32000),
               ("Gado-gado", 22000), ("Kerupuk udang", 5000), ("Kopi tubruk", 9000)],
    "quan": [("Phở bò tái", 65000), ("Cà phê sữa đá", 29000), ("Bánh mì thịt nướng", 35000),
             ("Gỏi cuốn tôm", 48000), ("Trà đá", 5000), ("Chè ba màu", 25000)],
    "market": [("EKMEK 250 G", 12.5), ("BEYAZ PEYNİR 500 G", 98.9), ("ÇAY 1 KG", 145.0),
               ("ZEYTİN YEŞİL", 74.5), ("YOĞURT 1,5 KG", 62.9), ("SİMİT", 15.0)],
}  # fmt: skip

SHOPS = [
    Shop("Marlow & Finch Coffee", "14 Pewter Lane", "Asheford, OR 97099", "(503) 555-0142", "us", "cafe"),
    Shop("Gristmill Hardware Co.", "2208 Quarry Road", "Dunmore Falls, OH 44699", "(330) 555-0117", "us", "hardware"),
    Shop("Bluebell Pharmacy", "61 Orchard Street", "Lower Wickham, VT 05099", "(802) 555-0163", "us", "pharmacy"),
    Shop("The Crooked Shelf", "7 Harbor Row", "Port Tamsin, ME 04699", "(207) 555-0128", "us", "books"),
    Shop("Sunny Side Nell's Diner", "Route 9, Exit 31", "Cotter Bend, MO 65099", "(573) 555-0185", "us", "diner"),
    Shop("Tin Roof Feed & Garden", "980 Old Depot Road", "Larkspur Flat, CO 80999", "(719) 555-0151", "us", "garden"),
    Shop("Juniper Street Roasters", "433 Juniper Street", "Millbrae Heights, WA 98099", "(206) 555-0109", "us", "cafe"),
    Shop("Pacheco Brothers Supply", "1701 Alder Avenue", "San Telmo, CA 95099", "(831) 555-0174", "us", "hardware"),
    Shop("Night Owl Diner", "55 Canal Street", "East Brannock, NY 12099", "(518) 555-0136", "us", "diner"),
    Shop("Copper Kettle Tea Room", "3 Minster Yard", "Thornaby Cross YX7 3QQ", "01632 960118", "uk", "cafe"),
    Shop("Hartley's Garden Centre", "Mill Lane", "Upper Withy QX4 8ZZ", "01632 960274", "uk", "garden"),
    Shop("Penrose Chemist", "88 High Street", "St Ovin QX1 2ZY", "01632 960395", "uk", "pharmacy"),
    Shop("Fell & Fold Books", "19 Market Place", "Kirkby Marsh YX2 6QZ", "01632 960451", "uk", "books"),
    Shop("Dock Road Ironmongers", "204 Dock Road", "Saltmere QX9 5YY", "01632 960562", "uk", "hardware"),
    Shop("Bäckerei Morgenrot", "Lindengasse 12", "99998 Altenhagen", "0999 555 014", "de", "baecker"),
    Shop("Heimwerker Kröger GmbH", "Industriering 40", "99997 Birkenstedt", "0999 555 027", "de", "baumarkt"),
    Shop("Konditorei Süßwinkel", "Am Marktbrunnen 3", "99996 Oberweiler", "0999 555 033", "de", "baecker"),
    Shop("Farben & Holz Ackermann", "Mühlweg 9a", "99995 Neukirch am See", "0999 555 048", "de", "baumarkt"),
    Shop("Épicerie du Vieux Lavoir", "8 rue des Glycines", "99998 Saint-Aubert", "01 99 00 12 34", "fr", "epicerie"),
    Shop("La Huche à Pain", "27 place de l'Horloge", "99997 Montrozier", "04 65 71 00 18", "fr", "epicerie"),
    Shop("Chez Odette, primeurs", "3 quai du Chêne", "99996 Bellefontaine", "02 61 91 00 27", "fr", "epicerie"),
    Shop("Taberna El Olivo Viejo", "Calle del Pozo 5", "99998 Villanueva del Soto", "900 000 141", "es", "tapas"),
    Shop("Bar La Golondrina", "Plaza Mayor 2", "99997 Peñarrubia", "900 000 158", "es", "tapas"),
    Shop("Mesón Tía Encarna", "Avda. de la Estación 31", "99996 Alcornoque", "900 000 166", "es", "tapas"),
    Shop("Alimentari Fratelli Bosco", "Via dei Tigli 18", "99998 Castelferro", "099 000 1122", "it", "alimentari"),
    Shop("Bottega della Nonna Pia", "Piazza Garofani 4", "99997 Montesole", "099 000 1187", "it", "alimentari"),
    Shop("Drogheria San Rocco", "Corso dei Mille 77", "99996 Roccachiara", "099 000 1230", "it", "alimentari"),
    Shop("Sklep U Bożeny", "ul. Wierzbowa 6", "99-998 Zielonka Górna", "99 000 01 12", "pl", "spozywczy"),
    Shop("Delikatesy Pod Kasztanem", "ul. Rynkowa 14", "99-997 Stary Młyn", "99 000 01 35", "pl", "spozywczy"),
    Shop("Lanthandeln i Björkvik", "Storgatan 3", "999 98 Björkvik", "0999-555 12", "sv", "livs"),
    Shop("Sjöbergs Livs", "Hamnvägen 21", "999 97 Norrfjäll", "0999-555 38", "sv", "livs"),
    Shop("Warung Bu Ratmi", "Jl. Kenanga No. 17", "Sukamandi 99998", "(099) 555 0121", "id", "warung"),
    Shop("Kedai Angin Laut", "Jl. Pantai Selatan 5", "Teluk Sari 99997", "(099) 555 0144", "id", "warung"),
    Shop("Rumah Makan Tiga Dara", "Jl. Melati Raya 30", "Kebon Jati 99996", "(099) 555 0176", "id", "warung"),
    Shop("Quán Phở Hoa Sen", "12 đường Bến Trúc", "Phường Cầu Mây", "099 555 0119", "vi", "quan"),
    Shop("Cà Phê Góc Phố", "45 ngõ Hàng Lụa", "Phường Đồng Xanh", "099 555 0153", "vi", "quan"),
    Shop("Bánh Mì Cô Tư", "8 đường Lá Me", "Phường Bình Minh", "099 555 0182", "vi", "quan"),
    Shop("Çınaraltı Market", "Zeytin Sok. No: 9", "Yeşilkoru", "0999 555 01 24", "tr", "market"),
    Shop("Güneş Bakkaliyesi", "Çarşı Cad. No: 41", "Akpınar Mahallesi", "0999 555 01 47", "tr", "market"),
    Shop("Deniz Yıldızı Büfe", "İskele Meydanı 2", "Kumlubük", "0999 555 01 68", "tr", "market"),
]
