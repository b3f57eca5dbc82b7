"""Words that archives of several languages write into tags: sexes, views, body parts, and what stands for nothing.

Every word is folded (`fold`) before it is looked up: upper case, no accents, signs as spaces. Languages: English,
Spanish, Portuguese, French, Italian, German, Dutch, Polish, Czech, Turkish, Russian, Ukrainian, Greek, Chinese,
Japanese, Korean, Hungarian, as far as their words cannot be mistaken for another's (a Spanish V is a man, a Dutch V a
woman: neither is read).
"""

from __future__ import annotations

import re
import unicodedata

_LETTERS = str.maketrans({"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ı": "i", "æ": "ae", "Æ": "AE"})


def fold(text: str | None) -> str:
    """Upper case without accents, every run of signs one space, digits apart from letters.

    >>> fold(" Tórax_PA2 "), fold("p.->a."), fold("Ж")
    ('TORAX PA 2', 'P A', 'Ж')
    """
    plain = unicodedata.normalize("NFKD", (text or "").translate(_LETTERS))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign)).upper()
    plain = re.sub(r"[\W_]+", " ", plain)
    return re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", " ", plain).strip()


_NOTHING = frozenset(
    fold(word)
    for word in (
        *(
            "u",
            "unknown",
            "unk",
            "none",
            "null",
            "nil",
            "na",
            "n/a",
            "nd",
            "n/d",
            "undefined",
            "unspecified",
            "default",
        ),
        *("not specified", "not stated", "not available", "not applicable", "not known", "no data", "empty", "blank"),
        *(
            "anonymous",
            "anonymized",
            "anonymised",
            "anonym",
            "anonymisiert",
            "anonimo",
            "anonimizado",
            "anonyme",
            "anon",
        ),
        *("anonymous patient", "anonymized patient", "deidentified", "de-identified", "removed", "deleted", "redacted"),
        *(
            "masked",
            "missing",
            "dummy",
            "desconocido",
            "desconhecido",
            "sin datos",
            "no consta",
            "inconnu",
            "unbekannt",
        ),
        *("keine angabe", "sconosciuto", "onbekend", "nieznany", "neznamy", "bilinmiyor", "неизвестно", "неизвестный"),
        *(
            "неизвестен",
            "не указано",
            "не указан",
            "нет данных",
            "нет",
            "аноним",
            "анонимно",
            "невідомо",
            "不明",
            "未知",
        ),
    )
)
_NOBODY = frozenset(
    fold(word)
    for word in (
        "patient",
        "patient id",
        "patientid",
        "id",
        "no id",
        "noid",
        "test",
        "test patient",
        "no name",
        "noname",
    )
)


def stands_for_nothing(text: str | None) -> bool:
    """Whether a tag's text is a placeholder: a word for unknown, or nothing but X, 0, ?, * or signs.

    >>> [stands_for_nothing(text) for text in ("UNKNOWN", "N/A", "xxx", "---", "PA", "")]
    [True, True, True, True, False, True]
    """
    plain = fold(text).replace(" ", "")
    return fold(text) in _NOTHING or not plain.strip("X0")


def stands_for_nobody(identifier: str | None) -> bool:
    """Whether a patient id is one that systems give to everybody: a placeholder, or one digit repeated.

    >>> [stands_for_nobody(one) for one in ("ANONYMOUS", "0", "00000", "99999", "anonymous^anonymous", "P0001", "7")]
    [True, True, True, True, True, False, False]
    """
    plain = fold(identifier)
    words = plain.split()
    if stands_for_nothing(identifier) or plain in _NOBODY or all(word in _NOTHING | _NOBODY for word in words):
        return True
    return plain.isdigit() and len(plain) >= 4 and len(set(plain)) == 1


def _table(words: dict[str, str]) -> dict[str, str]:
    """Folded word → what it means, from meaning → words with commas between."""
    return {fold(word): meaning for meaning, listed in words.items() for word in listed.split(",")}


SEXES = _table(
    {
        "F": "F,female,fem,"
        "W,woman,weiblich,frau,mujer,femenino,femenina,feminino,feminina,mulher,femme,féminin,femmina,"
        "femminile,donna,vrouw,vrouwelijk,kobieta,K,žena,kvinna,kvinde,kvinne,nainen,kadın,Ж,жен,женск,женский,"
        "женщина,"
        "жіноча,жіночий,жінка,девочка,θήλυ,γυναίκα,女,女性,여,여자,여성,nő,weibl",
        "M": "M,male,masc,"
        "man,männlich,maennlich,mann,hombre,varón,masculino,homem,homme,masculin,H,uomo,maschio,maschile,"
        "mannelijk,mężczyzna,muž,mies,erkek,М,муж,мужск,мужской,мужчина,чоловік,чоловіча,чоловічий,Ч,мальчик,άρρεν,άνδρας,"
        "男,男性,남,남자,남성,férfi,männl",
        "O": "O,other,otro,outro,autre,altro,divers,другой,другое",
    }
)
"""Words of (0010,0040) Patient's Sex."""

VIEW_PHRASES = _table(
    {
        "PA": "PA,P A,posteroanterior,postero anterior,posterior anterior,postéro antérieur,postéroantérieur,РА,"
        "заднепередняя,задне передняя,прямая передняя,передняя прямая,dorsoventral,dorso ventral,后前位,後前位",
        "AP": "AP,A P,anteroposterior,antero posterior,anterior posterior,antéro postérieur,antéropostérieur,АР,"
        "переднезадняя,передне задняя,прямая задняя,задняя прямая,ventrodorsal,ventro dorsal,前后位,前後位",
        "lateral": "lateral,lat,LL,RL,L L,latl,latr,side view,seitl,"
        "latero,L lat,R lat,llat,rlat,latero lateral,laterolateral,laterale,latérale,"
        "lateraal,"
        "zijdelings,seitlich,seitenaufnahme,profil,profilo,perfil,bok,boczne,boczny,boczna,boční,yan,боковая,боковой,"
        "боковые,бок,бічна,бокова,laterolaterale,latero laterale,側面,側位,侧位,侧面,측면",
        "oblique": "oblique,obl,LLO,RLO,LAO,RAO,LPO,RPO,oblicua,oblicuo,obliqua,oblíqua,schräg,schraeg,skośne,косая,"
        "斜位",
        "decubitus": "decubitus,decub,decúbito,LLD,RLD,латеропозиция",
    }
)
"""Words and phrases of views; what may also mean a side (L, LEFT) counts in (0018,5101) View Position alone."""
SIDE_WORDS = frozenset(("L", "R", "LEFT", "RIGHT"))
FREE_WORDS = frozenset(
    fold(word)
    for word in (
        *("chest", "thorax", "torax", "cxr", "rx", "xr", "erect", "supine", "sitting", "standing", "upright", "view"),
        *(
            "portable",
            "projection",
            "proyección",
            "projeção",
            "проекция",
            "frontal",
            "frn",
            "face",
            "de face",
            "frente",
            "正面",
            "正位",
            "정면",
            "立位",
        ),
        *("прямая", "de", "bedside", "mobile"),
    )
)
"""Words that say nothing of a view, or no more than that it is frontal."""

PARTS = _table(
    {
        "chest": "chest,thorax,torax,lung,lungs,cxr,pecho,pulmón,pulmones,pulmão,pulmões,poumon,poumons,polmone,"
        "polmoni,"
        "lunge,lungen,brustkorb,klatka,klp,płuca,hrudník,plíce,göğüs,akciğer,грудная,грудной,грудь,грудної,огк,огп,"
        "легкие,"
        "легких,легені,торакс,θώρακας,θώρακος,torace,mellkas,胸部,胸,肺,胸片,흉부",
        "abdomen": "abdomen,abdominal,abdominale,KUB,bauch,vientre,ventre,buik,brzuch,břicho,karın,живот,брюшная,"
        "брюшной,"
        "обп,腹部",
        "breast": "breast,mamma,mama,mamas,seno,mammella,molochnaya,молочная,молочных,乳房",
        "spine": "spine,cspine,tspine,lspine,sspine,lumbar,cervical,sacrum,coccyx,thoracic,columna,colonna,coluna,"
        "rachis,"
        "wirbelsäule,wirbelsaeule,HWS,BWS,LWS,kręgosłup,páteř,omurga,позвоночник,позвоночника,хребет,脊柱,颈椎,腰椎",
        "head": "head,skull,brain,face,sinus,sinuses,orbit,nose,ear,cráneo,crâne,crânio,cranio,cabeza,cabeça,tête,"
        "testa,"
        "kopf,schädel,schaedel,głowa,czaszka,hlava,kafa,череп,черепа,голова,ппн,头部,頭部",
        "teeth": "tooth,teeth,jaw,mandible,maxilla,dental,oral,diente,dientes,dente,dentes,dent,dents,zahn,zähne,"
        "zęby,зуб,"
        "зубы,челюсть",
        "neck": "neck,larynx,thyroid,cuello,pescoço,cou,collo,hals,szyja,krk,шея,шеи",
        "pelvis": "pelvis,hip,sijoint,cadera,hanche,bassin,bacino,anca,bacia,quadril,becken,hüfte,huefte,heup,"
        "miednica,"
        "biodro,pánev,kalça,таз,таза,тазобедренный,骨盆",
        "arm": "arm,hand,wrist,elbow,shoulder,humerus,forearm,finger,clavicle,scapula,thumb,mano,main,mão,hombro,"
        "épaule,"
        "spalla,ombro,schulter,schouder,codo,coude,gomito,cotovelo,ellenbogen,elleboog,muñeca,poignet,polso,punho,"
        "handgelenk,dedo,doigt,ręka,dłoń,bark,ruka,omuz,кисть,кисти,рука,локоть,плечо,предплечье,запястье,"
        "лучезапястный",
        "leg": "leg,knee,ankle,foot,femur,tibia,fibula,toe,calcaneus,patella,rodilla,genou,ginocchio,joelho,knie,"
        "kolano,"
        "koleno,diz,pie,pied,piede,pé,fuss,fuß,voet,stopa,ayak,tobillo,cheville,caviglia,tornozelo,sprunggelenk,"
        "enkel,"
        "стопа,стопы,нога,колено,коленный,голень,голеностоп,бедро",
        "extremity": "extremity,extremities,extremidad,extremidades,extrémité,estremità,extremität,конечность",
        "whole body": "wholebody,whole,body,cuerpo,corps,corpo",
        "heart": "heart,coronary,corazón,coeur,cuore,coração,herz,hart,serce,сердце",
        "ribs": "rib,ribs,sternum,costillas,côtes,coste,costelas,rippen,żebra,ребра,ребер",
    }
)
"""Words of (0018,0015) Body Part Examined, in groups of PS3.16 CID 4."""
VAGUE_PARTS = frozenset(("FACE", "ARM", "EAR", "ORAL", "WHOLE", "BODY", "BARK", "DIZ", "PE", "PIE", "MAIN", "HART"))
"""Words of parts that mean other things in a description ("thorax de face", "C-arm")."""

_KINDS = {
    "quality control": "quality control,quality assurance,QC,QA,test pattern,test image,calibration,flat field,"
    "dark field,"
    "constancy,TG 18,TG18,phantom,rejected,reject,konstanzprüfung,контроль качества",
    "bone suppressed": "bone suppressed,bone suppression,bone suppress,suppressed bone,rib suppressed,"
    "rib suppression,"
    "bone subtracted,bone subtraction,bone image,bone only,soft tissue,soft tissue image,tissue only,dual energy,"
    "energy subtraction,energy subtracted,energy sub,subtraction,subtracted,clearread,bonesuppressed,bonesuppression,"
    "bonesuppress,rib suppress,DE bone,DE soft",
    "tomographic": "tomo,tomosynthesis,tomosynthese,tomography,tomographic,tomogram,tomosintesis,volumerad,"
    "томография,томограмма,томосинтез",
}
"""What a radiograph is beside a plain one → words of Image Type and of descriptions that say so, in this order."""
_KIND_PHRASES = {fold(word): kind for kind, listed in _KINDS.items() for word in listed.split(",")}
IMAGE_KINDS = ("radiograph", "secondary capture", "drawing", *_KINDS)
"""What `image_kind` can be."""


def kind_in(text: str | None) -> str | None:
    """The first of _KINDS that a text names, or None.

    >>> kind_in("BONE_SUPPRESSED"), kind_in("Chest PA"), kind_in("DX TOMO")
    ('bone suppressed', None, 'tomographic')
    """
    padded = f" {fold(text)} "
    found = {kind for phrase, kind in _KIND_PHRASES.items() if f" {phrase} " in padded}
    return next((kind for kind in _KINDS if kind in found), None)


_WITHOUT_SPACES = re.compile(
    "|".join(
        sorted(
            (
                word
                for word in {*VIEW_PHRASES, *PARTS, *FREE_WORDS}
                if re.fullmatch("[\\u1100-\\u11ff\\u3040-\\u9fff]+", word)
            ),
            key=len,
            reverse=True,
        )
    )
)
"""Words of scripts that put none between words, the longest first."""


def fold_words(text: str | None) -> str:
    """`fold`, with spaces around the words of views and body parts that Chinese, Japanese and Korean write together.

    >>> fold_words("胸部側面 Chest") == " ".join(("胸部", "側面", "CHEST"))
    True
    """
    return " ".join(_WITHOUT_SPACES.sub(lambda word: f" {word[0]} ", fold(text)).split())
