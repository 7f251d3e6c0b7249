/* Pictures with sliders: reads the controls, redraws, and says in words what is to be seen. */
(() => {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const compute = window.ssmWidgets = {};

  const element = (tag, attributes, ...inside) => {
    const made = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  };
  const read = form => {
    const values = {};
    for (const field of form.elements) {
      if (field.type === "checkbox") (values[field.name] ??= []).push(field.checked);
      else if (field.type === "range") values[field.name] = "log" in field.dataset ? 10 ** +field.value : +field.value;
      else if (field.name) values[field.name] = field.value;
    }
    return values;
  };

  /* name → { compute(values) → data, draw(data, values, tools) → [elements], size, before?(values, form) } */
  window.ssmWidget = (name, own) => {
    compute[name] = own.compute;
    for (const figure of document.querySelectorAll(`figure[data-widget="${name}"]`)) {
      const [form, picture, says] = figure.querySelectorAll(".widget__live");
      const words = JSON.parse(figure.dataset.words);
      const number = (value, digits = 3) => new Intl.NumberFormat(figure.dataset.lang, { maximumSignificantDigits: digits }).format(value);
      const fill = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, slot) => values[slot]);
      let timer;
      const show = () => {
        own.before?.(read(form), form);
        const values = read(form);
        for (const field of form.querySelectorAll("[type=range]")) {
          const text = number(values[field.name]);
          field.parentElement.querySelector("output").textContent = text;
          field.setAttribute("aria-valuetext", text);
        }
        const data = own.compute(values), tools = { element, number, fill, words };
        const text = own.say(data, values, tools);
        picture.replaceChildren(element("svg", { viewBox: `0 0 ${own.size}`, style: `min-width: ${0.72 * parseInt(own.size)}px; max-width: ${1.15 * parseInt(own.size)}px; margin: auto`, role: "img", "aria-label": text }, ...own.draw(data, values, tools)));
        clearTimeout(timer);
        timer = setTimeout(() => { says.textContent = text; }, says.textContent ? 250 : 0);
      };
      for (const live of [form, picture, says]) live.hidden = false;
      figure.querySelector(".widget__still").hidden = true;
      form.addEventListener("input", show);
      form.addEventListener("submit", event => event.preventDefault());
      show();
    }
  };
})();
