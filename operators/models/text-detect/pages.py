"""Pictures with lines of text whose places and letters are known.

Lines of one to four words, plates and numbers are written on photographs (those that scikit-image brings
along), 12 to 56 pixels high, in two typefaces, light or dark against what lies beneath, some blurred,
all with noise. The same every time.
"""

import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from skimage import data

WIDTH, HEIGHT, LINES = 960, 720, 6
BACKGROUNDS = ["astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon", "rocket"]
SANS = pathlib.Path(__file__).parent.parent.parent / "src/draw/DejaVuSans-ascii.ttf"
WORDS = (
    "bakery open daily from to platform exit only fire door keep clear no parking bus stop market street "
    "hotel station north south gate seven ticket office please wait here fresh coffee left right water"
).split()


def page(seed):
    """A picture (RGB) and its lines, each as its box and its text."""
    random = np.random.default_rng(seed)
    name = BACKGROUNDS[seed % len(BACKGROUNDS)]
    picture = Image.fromarray(getattr(data, name)()).convert("RGB").resize((WIDTH, HEIGHT))
    lines = []
    for _ in range(LINES):
        write(picture, lines, random)
    if random.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(float(random.uniform(0.4, 1.0))))
    noisy = np.asarray(picture).astype(np.float64) + random.normal(0, 5, (HEIGHT, WIDTH, 1))
    return np.clip(noisy + 0.5, 0, 255).astype(np.uint8), lines


def write(picture, lines, random):
    """Adds a line where there is room for it."""
    text, size = sentence(random), int(random.integers(12, 57))
    font = ImageFont.truetype(str(SANS), size) if random.random() < 0.5 else ImageFont.load_default(size)
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left, bottom - top
    for _ in range(20):
        if width >= WIDTH - 20:
            return
        x, y = int(random.integers(10, WIDTH - 10 - width)), int(random.integers(10, HEIGHT - 10 - height))
        box = [x, y, x + width, y + height]
        if all(apart(box, other) for other, _ in lines):
            beneath = np.asarray(picture.convert("L"))[y : y + height, x : x + width].mean()
            level = int(random.integers(190, 256)) if beneath < 120 else int(random.integers(0, 50))
            draw.text((x - left, y - top), text, font=font, fill=(level, level, level))
            lines.append((box, text))
            return


def sentence(random):
    if random.random() < 0.3:
        letters = "".join(random.choice(list("ABCDEFGHKLMNPRSTUVWXYZ"), 4))
        return f"{letters[:2]} {random.integers(10, 10000)} {letters[2:]}"
    words = [str(word) for word in random.choice(WORDS, random.integers(1, 5))]
    style = random.integers(0, 3)
    return " ".join(words) if style == 0 else " ".join(words).upper() if style == 1 else " ".join(words).capitalize()


def apart(a, b, gap=14):
    return a[2] + gap < b[0] or b[2] + gap < a[0] or a[3] + gap < b[1] or b[3] + gap < a[1]
