"""Words of PET/CT reports for places in the body, as data: which region, organ and sub-site a word names.

Regions follow the headings of whole-body reports. `LEXICON_VERSION` is part of every structured finding's key: raise it with any change.
"""

from dataclasses import dataclass

LEXICON_VERSION = 1

HEAD_NECK = "head/neck"
CHEST = "chest"
ABDOMEN_PELVIS = "abdomen/pelvis"
MUSCULOSKELETAL = "musculoskeletal"
REGIONS = (HEAD_NECK, CHEST, ABDOMEN_PELVIS, MUSCULOSKELETAL)


@dataclass(frozen=True)
class Term:
    """What a word or phrase names; null where it leaves that open ("lymph node" has no region)."""

    organ: str | None
    region: str | None
    subsite: str | None = None


def _terms(region: str | None, organ: str | None, *entries: str) -> dict[str, Term]:
    """Entries of one organ. "phrase = sub-site" names a sub-site, "a | b = sub-site" gives it two spellings; a bare phrase names the organ."""
    out: dict[str, Term] = {}
    for entry in entries:
        phrases, _, subsite = (part.strip() for part in entry.partition("="))
        for phrase in phrases.split("|"):
            out[phrase.strip()] = Term(organ, region, subsite or None)
    return out


TERMS: dict[str, Term] = {
    # Head and neck
    **_terms(HEAD_NECK, "brain", "brain", "cerebral", "cerebrum", "intracranial", "cerebellum | cerebellar = cerebellum", "frontal lobe = frontal lobe",
             "temporal lobe = temporal lobe", "parietal lobe = parietal lobe", "occipital lobe = occipital lobe", "basal ganglia = basal ganglia",
             "thalamus | thalamic = thalamus", "brainstem | pons | medulla oblongata = brainstem", "cortical gray matter = cortex"),
    **_terms(HEAD_NECK, "pituitary", "pituitary", "sella", "sellar"),
    **_terms(HEAD_NECK, "meninges", "meninges", "meningioma", "dural", "falx"),
    **_terms(HEAD_NECK, "orbit", "orbit", "orbital", "globe", "extraocular muscle", "lacrimal gland", "choroid"),
    **_terms(HEAD_NECK, "paranasal sinus", "paranasal sinus", "sinus", "maxillary sinus = maxillary sinus", "ethmoid | ethmoid sinus = ethmoid sinus",
             "sphenoid sinus = sphenoid sinus", "frontal sinus = frontal sinus", "nasal cavity = nasal cavity", "nasal septum = nasal cavity", "nasal turbinate = nasal cavity"),
    **_terms(HEAD_NECK, "nasopharynx", "nasopharynx", "nasopharyngeal", "fossa of rosenmuller"),
    **_terms(HEAD_NECK, "oral cavity", "oral cavity", "tongue = tongue", "oral tongue = oral tongue", "floor of mouth | floor of the mouth = floor of mouth", "buccal = buccal mucosa",
             "gingiva | gingival = gingiva", "hard palate = hard palate", "retromolar trigone = retromolar trigone", "lip = lip", "alveolar ridge = alveolar ridge"),
    **_terms(HEAD_NECK, "oropharynx", "oropharynx", "oropharyngeal", "base of tongue | tongue base | base of the tongue = base of tongue", "tonsil | tonsillar | palatine tonsil = tonsil",
             "soft palate = soft palate", "lingual tonsil = lingual tonsil", "vallecula | vallecular = vallecula", "uvula = soft palate", "pharynx", "pharyngeal", "waldeyer"),
    **_terms(HEAD_NECK, "hypopharynx", "hypopharynx", "hypopharyngeal", "pyriform sinus | piriform sinus = pyriform sinus", "postcricoid = postcricoid"),
    **_terms(HEAD_NECK, "larynx", "larynx", "laryngeal", "vocal cord | vocal fold | true vocal cord = vocal cord", "glottis | glottic = glottis", "supraglottic | supraglottis = supraglottis",
             "epiglottis = epiglottis", "aryepiglottic fold = aryepiglottic fold", "arytenoid = arytenoid", "cricoid = cricoid", "thyroid cartilage = thyroid cartilage"),
    **_terms(HEAD_NECK, "thyroid", "thyroid", "thyroid gland", "thyroid lobe", "thyroid nodule", "thyroid isthmus = isthmus", "parathyroid", "thyroid bed"),
    **_terms(HEAD_NECK, "parotid gland", "parotid", "parotid gland"),
    **_terms(HEAD_NECK, "submandibular gland", "submandibular gland", "salivary gland", "sublingual gland"),
    **_terms(HEAD_NECK, "scalp", "scalp", "ear", "auricle", "external auditory canal"),
    **_terms(HEAD_NECK, "neck", "neck", "face", "facial", "parapharyngeal", "masticator", "carotid space", "masseter", "skull base", "prevertebral", "pterygoid", "temporalis",
             "sternocleidomastoid", "head", "cheek", "chin", "mastoid"),
    **_terms(HEAD_NECK, "mandible", "mandible", "mandibular", "maxilla", "dental", "periodontal", "tooth", "teeth", "periapical", "temporomandibular joint"),
    **_terms(HEAD_NECK, "lymph node", "cervical lymph node | cervical node | neck node = cervical", "cervical lymphadenopathy | cervical adenopathy = cervical", "submandibular lymph node | submandibular node = submandibular",
             "submental | submental node = submental", "jugulodigastric = jugulodigastric", "supraclavicular = supraclavicular", "retropharyngeal = retropharyngeal",
             "posterior cervical = posterior cervical", "jugular = jugular chain", "parotid node | intraparotid = parotid", "occipital node = occipital", "level i | level ia | level ib | level 1 | level 1a | level 1b = level I",
             "level ii | level iia | level iib | level 2 | level 2a | level 2b = level II", "level iii | level 3 = level III", "level iv | level 4 = level IV", "level v | level va | level vb | level 5 | level 5a | level 5b = level V",
             "level vi | level 6 = level VI", "preauricular = preauricular", "postauricular = postauricular", "virchow | virchow's node = supraclavicular"),
    **_terms(HEAD_NECK, "neck", "cervical", "submandibular"),
    # Chest
    **_terms(CHEST, "lung", "lung", "pulmonary", "lingula | lingular = left upper lobe", "left upper lobe | lul = left upper lobe", "left lower lobe | lll = left lower lobe",
             "right upper lobe | rul = right upper lobe", "right middle lobe | rml | middle lobe = right middle lobe", "right lower lobe | rll = right lower lobe", "upper lobe = upper lobe",
             "lower lobe = lower lobe", "lung apex | apical lung | pulmonary apex | lung apices = apex", "lung base | lung bases = base", "perihilar = perihilar", "suprahilar = perihilar", "infrahilar = perihilar",
             "lobectomy", "fissure", "peribronchial", "bronchial stump = bronchial stump", "costophrenic"),
    **_terms(CHEST, "airway", "trachea", "tracheal", "bronchus", "bronchial", "endobronchial", "carina", "mainstem bronchus", "main bronchus"),
    **_terms(CHEST, "pleura", "pleura", "pleural", "pleural effusion", "hemithorax", "pleural based", "pleurodesis", "empyema"),
    **_terms(CHEST, "lymph node", "mediastinal lymph node | mediastinal node | mediastinal lymphadenopathy | mediastinal adenopathy = mediastinal", "hilar | hilum | hila = hilar", "paratracheal = paratracheal",
             "subcarinal = subcarinal", "prevascular = prevascular", "aortopulmonary | aortopulmonary window | ap window | aorto pulmonary window = aortopulmonary window", "pretracheal = pretracheal", "paraesophageal = paraesophageal",
             "internal mammary = internal mammary", "axilla | axillary = axillary", "subpectoral = subpectoral", "retrocrural = retrocrural", "cardiophrenic = cardiophrenic", "pericardial node | epicardial node = cardiophrenic",
             "paraaortic mediastinal = para-aortic", "infraclavicular = infraclavicular", "precarinal = precarinal", "interlobar = interlobar", "tracheoesophageal = tracheoesophageal", "station 7 = subcarinal",
             "station 4r | station 4l | 4r | 4l = paratracheal", "station 2r | station 2l | 2r | 2l = upper paratracheal", "station 5 = aortopulmonary window", "station 10r | station 10l | 10r | 10l = hilar", "station 11r | station 11l | 11r | 11l = interlobar", "diaphragmatic node = cardiophrenic"),
    **_terms(CHEST, "mediastinum", "mediastinum", "mediastinal", "thymus", "thymic", "paracardiac"),
    **_terms(CHEST, "esophagus", "esophagus", "esophageal", "oesophagus", "oesophageal", "distal esophagus = distal", "mid esophagus = mid", "proximal esophagus = proximal", "gastroesophageal junction | ge junction | esophagogastric junction | gej = gastroesophageal junction"),
    **_terms(CHEST, "heart", "heart", "myocardium", "myocardial", "cardiac", "ventricle", "ventricular", "left ventricle = left ventricle", "left ventricular | left ventricular myocardium = left ventricle", "right ventricle = right ventricle", "atrium", "atrial", "pericardium", "pericardial",
             "atrial appendage", "interatrial septum", "papillary muscle", "coronary"),
    **_terms(CHEST, "vessel", "aorta", "aortic", "aortic arch", "pulmonary artery", "superior vena cava", "blood pool", "brachiocephalic", "subclavian"),
    **_terms(CHEST, "breast", "breast", "nipple", "areola", "mammary", "retroareolar", "mastectomy"),
    **_terms(CHEST, "chest wall", "chest wall", "thoracic", "chest", "thorax", "pectoralis", "pectoral", "intercostal", "port", "chest port"),
    **_terms(CHEST, "diaphragm", "diaphragm", "diaphragmatic", "hiatal hernia"),
    # Abdomen and pelvis
    **_terms(ABDOMEN_PELVIS, "liver", "liver", "hepatic", "hepatic dome | liver dome | dome of the liver = dome", "right hepatic lobe | right lobe of the liver | right lobe of liver | right liver lobe = right lobe", "left hepatic lobe | left lobe of the liver | left lobe of liver | left liver lobe = left lobe",
             "caudate | caudate lobe = caudate lobe", "segment i | segment 1 = segment 1", "segment ii | segment 2 = segment 2", "segment iii | segment 3 = segment 3", "segment iv | segment iva | segment ivb | segment 4 | segment 4a | segment 4b = segment 4", "segment v | segment 5 = segment 5", "segment vi | segment 6 = segment 6",
             "segment vii | segment 7 = segment 7", "segment viii | segment 8 = segment 8", "hepatic segment", "subcapsular liver", "perihepatic"),
    **_terms(ABDOMEN_PELVIS, "gallbladder", "gallbladder", "biliary", "bile duct", "common bile duct", "cholecystectomy", "porta hepatis"),
    **_terms(ABDOMEN_PELVIS, "pancreas", "pancreas", "pancreatic", "pancreatic head | head of the pancreas | head of pancreas = head", "pancreatic body | body of the pancreas = body", "pancreatic tail | tail of the pancreas | tail of pancreas = tail", "uncinate | uncinate process = uncinate process", "peripancreatic"),
    **_terms(ABDOMEN_PELVIS, "spleen", "spleen", "splenic", "splenule", "splenosis"),
    **_terms(ABDOMEN_PELVIS, "adrenal gland", "adrenal", "adrenal gland", "suprarenal", "adrenal nodule"),
    **_terms(ABDOMEN_PELVIS, "kidney", "kidney", "renal", "nephrectomy", "perinephric", "renal pelvis = renal pelvis", "renal cortex = cortex", "upper pole = upper pole", "lower pole = lower pole", "interpolar = interpolar", "renal collecting system | collecting system = collecting system", "calyx | calyces = calyx"),
    **_terms(ABDOMEN_PELVIS, "ureter", "ureter", "ureteral", "ureteric", "ureterovesical junction"),
    **_terms(ABDOMEN_PELVIS, "bladder", "bladder", "urinary bladder", "vesical", "urachus"),
    **_terms(ABDOMEN_PELVIS, "urethra", "urethra", "urethral"),
    **_terms(ABDOMEN_PELVIS, "stomach", "stomach", "gastric", "gastric fundus = fundus", "gastric antrum | antrum = antrum", "pylorus | pyloric = pylorus", "gastric body = body", "gastric cardia = cardia", "greater curvature = greater curvature", "lesser curvature = lesser curvature"),
    **_terms(ABDOMEN_PELVIS, "small bowel", "small bowel", "duodenum | duodenal = duodenum", "jejunum | jejunal = jejunum", "ileum | ileal | terminal ileum = ileum", "small intestine", "enteric"),
    **_terms(ABDOMEN_PELVIS, "colon", "colon", "colonic", "large bowel", "bowel", "intestine", "intestinal", "cecum | cecal | caecum = cecum", "ascending colon | right colon = ascending colon", "transverse colon = transverse colon", "descending colon | left colon = descending colon", "sigmoid | sigmoid colon = sigmoid",
             "hepatic flexure = hepatic flexure", "splenic flexure = splenic flexure", "ileocecal | ileocecal valve = ileocecal valve", "appendix | appendiceal = appendix"),
    **_terms(ABDOMEN_PELVIS, "rectum", "rectum", "rectal", "rectosigmoid = rectosigmoid", "perirectal", "mesorectal | mesorectum = mesorectum", "presacral"),
    **_terms(ABDOMEN_PELVIS, "anus", "anus", "anal", "anal canal", "perianal", "anorectal"),
    **_terms(ABDOMEN_PELVIS, "peritoneum", "peritoneum", "peritoneal", "omentum", "omental", "mesentery", "mesenteric", "mesenteric root", "ascites", "cul-de-sac", "cul de sac", "paracolic", "paracolic gutter", "carcinomatosis", "douglas"),
    **_terms(ABDOMEN_PELVIS, "retroperitoneum", "retroperitoneum", "retroperitoneal", "inferior vena cava", "ivc", "abdominal aorta", "crus"),
    **_terms(ABDOMEN_PELVIS, "lymph node", "para-aortic | paraaortic | periaortic | para aortic = para-aortic", "aortocaval = aortocaval", "portacaval | portocaval = portacaval", "periportal | portal node | porta hepatis node = periportal", "celiac = celiac", "gastrohepatic | gastrohepatic ligament = gastrohepatic",
             "iliac node | iliac lymph node | iliac chain | iliac = iliac", "common iliac = common iliac", "external iliac = external iliac", "internal iliac = internal iliac", "obturator = obturator", "inguinal | groin = inguinal", "femoral node = femoral", "mesenteric lymph node | mesenteric node = mesenteric", "retroperitoneal lymph node | retroperitoneal node | retroperitoneal lymphadenopathy | retroperitoneal adenopathy = retroperitoneal",
             "pelvic sidewall | pelvic side wall = pelvic sidewall", "paracaval = paracaval", "retrocaval = retrocaval", "perigastric = perigastric", "perirectal node | mesorectal node = mesorectal", "presacral node = presacral", "pelvic lymph node | pelvic node = pelvic", "peripancreatic node = peripancreatic", "hypogastric = internal iliac", "interaortocaval = aortocaval"),
    **_terms(ABDOMEN_PELVIS, "prostate", "prostate", "prostatic", "prostate bed", "prostatectomy", "peripheral zone = peripheral zone", "transition zone = transition zone", "seminal vesicle = seminal vesicle", "prostate apex = apex", "prostate base = base"),
    **_terms(ABDOMEN_PELVIS, "uterus", "uterus", "uterine", "endometrium", "endometrial", "cervix", "uterine cervix = cervix", "myometrium", "fibroid", "parametrium", "parametrial"),
    **_terms(ABDOMEN_PELVIS, "ovary", "ovary", "ovarian", "adnexa", "adnexal", "fallopian tube", "corpus luteum"),
    **_terms(ABDOMEN_PELVIS, "vagina", "vagina", "vaginal", "vaginal cuff = cuff", "vulva", "vulvar", "introitus"),
    **_terms(ABDOMEN_PELVIS, "testis", "testis", "testicle", "testicular", "scrotum", "scrotal", "spermatic cord", "penis", "penile", "epididymis"),
    **_terms(ABDOMEN_PELVIS, "abdominal wall", "abdominal wall", "umbilical", "umbilicus", "rectus", "rectus abdominis", "abdominal", "abdomen", "ventral hernia", "periumbilical", "flank"),
    **_terms(ABDOMEN_PELVIS, "pelvis", "pelvis", "pelvic", "perineum", "perineal", "ischiorectal", "pelvic floor"),
    # Musculoskeletal
    **_terms(MUSCULOSKELETAL, "vertebra", "vertebra", "vertebral", "vertebral body", "spine", "spinal", "cervical spine = cervical spine", "thoracic spine = thoracic spine", "lumbar spine = lumbar spine", "lumbar = lumbar spine", "cervical vertebra = cervical spine", "thoracic vertebra = thoracic spine",
             "lumbar vertebra = lumbar spine", "pedicle", "lamina", "spinous process", "transverse process", "facet", "facet joint", "endplate", "paraspinal", "costovertebral"),
    **_terms(MUSCULOSKELETAL, "sacrum", "sacrum", "sacral", "sacroiliac", "si joint", "sacral ala = ala", "coccyx"),
    **_terms(MUSCULOSKELETAL, "rib", "rib", "costal", "costochondral"),
    **_terms(MUSCULOSKELETAL, "sternum", "sternum", "sternal", "manubrium = manubrium", "xiphoid = xiphoid", "sternoclavicular"),
    **_terms(MUSCULOSKELETAL, "clavicle", "clavicle", "clavicular", "acromioclavicular"),
    **_terms(MUSCULOSKELETAL, "scapula", "scapula", "scapular", "glenoid = glenoid", "acromion = acromion", "coracoid = coracoid"),
    **_terms(MUSCULOSKELETAL, "humerus", "humerus", "humeral", "humeral head = head", "proximal humerus = proximal"),
    **_terms(MUSCULOSKELETAL, "forearm", "radius", "ulna", "forearm", "elbow", "wrist", "hand", "finger"),
    **_terms(MUSCULOSKELETAL, "pelvic bone", "iliac bone | ilium | iliac wing | iliac crest | iliac blade = ilium", "ischium | ischial | ischial tuberosity = ischium", "pubis | pubic | pubic ramus | pubic bone | pubic symphysis | symphysis pubis = pubis", "acetabulum | acetabular = acetabulum", "pelvic bone", "bony pelvis", "innominate"),
    **_terms(MUSCULOSKELETAL, "femur", "femur", "femoral", "femoral head = head", "femoral neck = neck", "femoral shaft | femoral diaphysis = shaft", "greater trochanter = greater trochanter", "lesser trochanter = lesser trochanter", "proximal femur = proximal", "distal femur = distal", "intertrochanteric = intertrochanteric"),
    **_terms(MUSCULOSKELETAL, "tibia", "tibia", "tibial", "fibula", "patella", "tibial plateau = plateau"),
    **_terms(MUSCULOSKELETAL, "foot", "foot", "ankle", "calcaneus", "talus", "metatarsal", "toe", "heel"),
    **_terms(MUSCULOSKELETAL, "joint", "joint", "shoulder", "shoulder joint", "hip", "hip joint", "knee", "periarticular", "synovial"),
    **_terms(MUSCULOSKELETAL, "skull", "skull", "calvarium", "calvarial", "clivus = clivus", "temporal bone = temporal bone", "frontal bone = frontal bone", "parietal bone = parietal bone", "occipital bone | occiput = occipital bone", "sphenoid bone | sphenoid wing = sphenoid"),
    **_terms(MUSCULOSKELETAL, "bone marrow", "bone marrow", "marrow"),
    **_terms(MUSCULOSKELETAL, "bone", "bone", "osseous", "skeletal", "skeleton", "bony", "lytic", "sclerotic", "osteolytic", "appendicular", "axial skeleton", "fracture", "osteoblastic"),
    **_terms(MUSCULOSKELETAL, "muscle", "muscle", "muscular", "intramuscular", "musculature", "psoas = psoas", "iliopsoas = iliopsoas", "iliacus = iliacus", "gluteal | gluteus | gluteus maximus | gluteus medius = gluteal", "quadriceps = quadriceps", "hamstring = hamstring", "adductor = adductor", "trapezius = trapezius",
             "deltoid = deltoid", "biceps = biceps", "triceps = triceps", "latissimus | latissimus dorsi = latissimus dorsi", "erector spinae = erector spinae", "vastus | vastus lateralis | vastus medialis = quadriceps", "sartorius = sartorius", "gastrocnemius | soleus = calf", "rotator cuff = rotator cuff", "piriformis = piriformis",
             "subscapularis = subscapularis", "infraspinatus = infraspinatus", "supraspinatus = supraspinatus", "serratus = serratus", "rhomboid = rhomboid", "biceps femoris = hamstring", "rectus femoris = quadriceps", "myositis"),
    **_terms(MUSCULOSKELETAL, "leg", "thigh = thigh", "calf = calf", "lower leg = lower leg", "leg", "lower extremity", "popliteal = popliteal", "popliteal fossa = popliteal", "buttock = buttock"),
    **_terms(MUSCULOSKELETAL, "arm", "upper arm = upper arm", "arm", "upper extremity", "antecubital = antecubital", "epitrochlear = epitrochlear"),
    **_terms(MUSCULOSKELETAL, "extremity", "extremity", "extremities", "limb"),
    **_terms(MUSCULOSKELETAL, "soft tissue", "soft tissue", "soft-tissue", "subcutaneous", "fascia", "fascial", "sarcoma"),
    # Named by level: C1-C7, T1-T12, L1-L5, S1-S5 (the spelled-out forms are made in `vertebra_terms`).
    # Without a region of their own
    **_terms(None, "lymph node", "lymph node", "lymph nodes", "node", "nodal", "nodes", "lymphadenopathy", "adenopathy", "lymphatic"),
    **_terms(None, "skin", "skin", "cutaneous", "dermal", "melanoma"),
    **_terms(None, "nerve", "nerve root", "nerve", "neural foramen", "sciatic nerve", "brachial plexus", "spinal cord", "thecal sac"),
    **_terms(None, "back", "back", "trunk"),
}

_VERTEBRAE = (("c", 7, "cervical"), ("t", 12, "thoracic"), ("l", 5, "lumbar"))


def _vertebra_terms() -> dict[str, Term]:
    out = {}
    for letter, count, _ in _VERTEBRAE:
        for n in range(1, count + 1):
            out[f"{letter}{n}"] = Term("vertebra", MUSCULOSKELETAL, f"{letter.upper()}{n}")
            if letter == "t":
                out[f"d{n}"] = out[f"t{n}"]
    for n in range(1, 6):
        out[f"s{n}"] = Term("sacrum", MUSCULOSKELETAL, f"S{n}")
    return out


TERMS = {**TERMS, **_vertebra_terms()}

SECTION_REGIONS: dict[str, str] = {
    "head": HEAD_NECK, "neck": HEAD_NECK, "brain": HEAD_NECK, "skull base": HEAD_NECK,
    "chest": CHEST, "thorax": CHEST, "lung": CHEST, "lungs": CHEST, "mediastinum": CHEST, "breast": CHEST, "axilla": CHEST, "pleura": CHEST, "heart": CHEST, "hila": CHEST,
    "abdomen": ABDOMEN_PELVIS, "pelvis": ABDOMEN_PELVIS, "liver": ABDOMEN_PELVIS, "hepatobiliary": ABDOMEN_PELVIS, "spleen": ABDOMEN_PELVIS, "pancreas": ABDOMEN_PELVIS,
    "gi": ABDOMEN_PELVIS, "gastrointestinal": ABDOMEN_PELVIS, "genitourinary": ABDOMEN_PELVIS, "gu": ABDOMEN_PELVIS, "kidneys": ABDOMEN_PELVIS, "adrenals": ABDOMEN_PELVIS, "retroperitoneum": ABDOMEN_PELVIS, "bowel": ABDOMEN_PELVIS,
    "musculoskeletal": MUSCULOSKELETAL, "msk": MUSCULOSKELETAL, "bones": MUSCULOSKELETAL, "bone": MUSCULOSKELETAL, "skeleton": MUSCULOSKELETAL, "osseous": MUSCULOSKELETAL, "skeletal": MUSCULOSKELETAL,
    "extremities": MUSCULOSKELETAL, "extremity": MUSCULOSKELETAL, "soft tissues": MUSCULOSKELETAL, "soft tissue": MUSCULOSKELETAL, "spine": MUSCULOSKELETAL, "limbs": MUSCULOSKELETAL,
}  # fmt: skip

MAX_WORDS = max(len(phrase.replace("-", " ").split()) for phrase in TERMS)
"""Longest phrase of the lexicon, in words."""
