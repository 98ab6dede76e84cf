// A page that is opened from a disk may not start a worker, and the search runs in one.
// There, and only there, a hidden frame takes the worker's place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.started = new Promise((started) => {
        frame.addEventListener("load", () => {
          frame.contentWindow.postMessage = (data) =>
            this.dispatchEvent(new MessageEvent("message", {data}));
          const element = frame.contentDocument.createElement("script");
          element.src = script;
          element.addEventListener("load", () => started(frame.contentWindow));
          frame.contentDocument.body.append(element);
        }, {once: true});
      });
      document.body.append(frame);
    }

    postMessage(data) {
      this.started.then((inside) => inside.dispatchEvent(new MessageEvent("message", {data})));
    }
  };
}
