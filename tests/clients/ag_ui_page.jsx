/** The example of docs/ag-ui.md, as a page: the thread's name is in the address. */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./ag_ui_example.jsx";

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App id={new URL(location.href).searchParams.get("thread")} />
  </StrictMode>,
);
