/** The example of docs/use-chat.md, as a page: the chat's id is in the address. */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./example.jsx";

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App id={new URL(location.href).searchParams.get("chat")} />
  </StrictMode>,
);
