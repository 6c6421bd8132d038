// Loads the page anew when its reason, or its whole answer, has become another one: nothing moves
// under somebody who reads, and a service that comes up is asked once more and not twice.
"use strict";
(() => {
  const { every, status, reason } = document.getElementById("again").dataset;
  const look = async () => {
    try {
      if (!document.hidden) {
        const found = await fetch(location.href, { method: "HEAD", cache: "no-store", redirect: "manual" });
        if (String(found.status) !== status || found.headers.get("X-Reason") !== reason) {
          location.reload();
          return;
        }
      }
    } catch {
      // nobody answers for the moment
    }
    setTimeout(look, every * 1000);
  };
  setTimeout(look, every * 1000);
})();
