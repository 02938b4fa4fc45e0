// The search of mkdocs reads its index over HTTP only, and wants to know where the site begins.
"use strict";
var base_url = document.documentElement.dataset.base;
document.addEventListener("DOMContentLoaded", () => {
  if (!location.protocol.startsWith("http")) return;
  document.querySelector("[role=search]").hidden = false;
  const search = document.createElement("script");
  search.src = base_url + "/search/main.js";
  document.head.append(search);
});
