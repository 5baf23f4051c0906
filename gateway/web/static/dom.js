// The little that is needed of a view library: make an element, set text, keep a list in step with data.

export const $ = (id) => document.getElementById(id);

/** Make an element: h("li", {class: "row", hidden: true}, "text", child). */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Set an attribute only where it changes; false and null remove it. */
export function set(node, name, value) {
  if (value === false || value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/** Set text only where it changes: screen readers and selections are left in peace. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Make the children of `parent` follow `items`, keeping the nodes that stay. make(item) gives {node, update}. */
export function keyed(parent, items, key, make) {
  const known = (parent.views ??= new Map());
  const wanted = new Set();
  items.forEach((item, index) => {
    const id = key(item);
    wanted.add(id);
    let view = known.get(id);
    if (!view) known.set(id, (view = make(item)));
    view.update?.(item);
    if (parent.children[index] !== view.node) parent.insertBefore(view.node, parent.children[index] ?? null);
  });
  for (const [id, view] of known) {
    if (!wanted.has(id)) { view.node.remove(); known.delete(id); }
  }
}
