// @ts-check
// Light or dark, as the page or the notebook is, and the colors of values in it.
import { css, isDark, paletteOf } from "./color.js";

/**
 * Sets the colors of values on the root, for the style sheet; gives them.
 * @param {HTMLElement} root
 * @param {Element} frame whose background tells the theme
 * @param {import("./types").Look} look
 */
export function applyPalette(root, frame, look) {
  look.dark = isDark(getComputedStyle(frame).backgroundColor);
  const palette = paletteOf(look.map, look.dark);
  const ramps = { for: palette.plus, against: palette.minus, size: palette.size };
  for (const [name, colors] of Object.entries(ramps)) {
    colors.forEach((color, i) => {
      root.style.setProperty(`--vx-${name}-${i + 1}`, css(color));
    });
  }
  root.style.setProperty("--vx-nothing", css(palette.zero));
  return palette;
}

/** Calls when the theme may have changed; gives a function that ends it. @param {() => void} call */
export function watchTheme(call) {
  const moment = matchMedia("(prefers-color-scheme: dark)");
  moment.addEventListener("change", call);
  const changes = new MutationObserver(call);
  for (const node of [document.body, document.documentElement])
    changes.observe(node, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-theme"] });
  return () => {
    moment.removeEventListener("change", call);
    changes.disconnect();
  };
}
