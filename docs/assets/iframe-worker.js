// A page that was opened as a file may not start a worker, and the search is one. Here a hidden frame does its work.
// The theme would fetch such a script from a network; it takes this one because of its name.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<!doctype html>";
      this.inside = new Promise((ready) => {
        frame.addEventListener("load", () => ready(this.started(frame.contentWindow, new URL(address, location.href))));
      });
      document.body.append(frame);
    }

    async started(inside, address) {
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = async (...addresses) => {
        for (const next of addresses) await loaded(inside.document, next);
      };
      await loaded(inside.document, address);
      return inside;
    }

    async postMessage(data) {
      (await this.inside).dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}

function loaded(page, address) {
  return new Promise((done, failed) => {
    page.head.append(Object.assign(page.createElement("script"), { src: address, onload: done, onerror: failed }));
  });
}
